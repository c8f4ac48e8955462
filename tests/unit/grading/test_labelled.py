"""The labelled answers: what the rules, and any judge, are measured with."""

import json
from pathlib import Path

import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.grading import Grade, Mode, Reference, Rule, extract_answer, grade_by_rule
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.prompt import load_prompt, render_question
from agentic_vlm.grading.labelled import LabelledAnswer, read_labelled
from agentic_vlm.grading.labelled.__main__ import main
from agentic_vlm.grading.labelled.agreement import judged_rows
from agentic_vlm.grading.labelled.measure import (
    grade_by_bare_math_verify,
    grade_row,
    mathematical,
    measure,
)
from agentic_vlm.schema import Judgement, Verdict, content_id

ROWS = read_labelled()
# Some lines of mathematics start processes, whose libraries take seconds to load.
PLAIN = [row for row in ROWS if row.rule is not Rule.MATH]


def test_the_set_covers_every_rule_and_is_large_enough() -> None:
    assert len(ROWS) >= 300
    assert {row.rule for row in ROWS} == set(Rule)
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert {row.label for row in ROWS} == {Verdict.CORRECT, Verdict.INCORRECT}


def test_a_judge_can_be_measured_with_two_hundred_rows() -> None:
    assert len(judged_rows(ROWS)) >= 200


def test_rules_are_right_and_pass_no_wrong_answer() -> None:
    agreement = measure(PLAIN, grade_row)
    assert agreement.share_right >= 0.95
    assert agreement.num_passed_wrong == 0


def test_mathematics_is_above_bare_math_verify_in_the_same_run() -> None:
    rows = mathematical(ROWS)
    ours = measure(rows, grade_row)
    bare = measure(rows, grade_by_bare_math_verify)
    assert ours.share_right >= 0.95
    assert ours.num_passed_wrong == 0
    assert bare.num_passed_wrong > 0
    assert ours.num_as_labelled > bare.num_as_labelled


@pytest.mark.parametrize("mode", [Mode.OFFICIAL, Mode.PAPER])
def test_the_known_rules_of_others_say_what_is_pinned(mode: Mode) -> None:
    def verdict(row: LabelledAnswer) -> Verdict:
        return grade_by_rule(row.rule, row.given, row.wanted, mode=mode).verdict

    pinned = [row for row in ROWS if getattr(row, mode.value) is not None and not row.reply]
    assert len(pinned) >= 20
    assert [row.id for row in pinned if verdict(row) is not getattr(row, mode.value)] == []


@pytest.mark.parametrize("rule", list(Rule))
def test_the_reference_itself_is_correct_in_every_rule(rule: Rule) -> None:
    texts = {row.reference for row in ROWS if row.reference.strip()}
    for text in texts:
        assert grade_by_rule(rule, text, Reference(text)).verdict is Verdict.CORRECT


# Rules whose published form asks for more than the text of the reference.
_NOT_ITSELF = {
    Mode.OFFICIAL: {Rule.BOX, Rule.RERANK, Rule.OPTION},
    Mode.PAPER: {Rule.BOX, Rule.RERANK, Rule.OPTION, Rule.LIST},
}


@pytest.mark.parametrize("mode", [Mode.OFFICIAL, Mode.PAPER])
def test_the_reference_itself_is_not_wrong_under_the_rules_of_others(mode: Mode) -> None:
    """Boxes want tags, a choice of websites one of them, the fork never passes a list."""
    wrong = [
        row.id
        for row in PLAIN
        if row.reference.strip() and row.rule not in _NOT_ITSELF[mode]
        and grade_by_rule(row.rule, row.reference, row.wanted, mode=mode).verdict
        is Verdict.INCORRECT
    ]  # fmt: skip
    assert wrong == []
    lists = [row for row in PLAIN if row.rule is Rule.LIST]
    no_defects = {
        grade_by_rule(row.rule, row.reference, row.wanted, mode=mode, defects=frozenset()).verdict
        for row in lists
    }
    assert no_defects == {Verdict.CORRECT}


@pytest.mark.parametrize("form", ["{}.", "**{}**", "The answer is {}", "<answer>{}</answer>"])
def test_the_reference_in_the_forms_that_models_write_is_never_wrong(form: str) -> None:
    """Each reference under its own rule, without the shortcut for equal texts."""
    wrong = []
    for row in PLAIN:
        if row.rule in (Rule.REQUERY, Rule.RERANK) or not row.reference.strip():
            continue
        given = extract_answer(form.format(row.reference))
        if grade_by_rule(row.rule, given, row.wanted).verdict is Verdict.INCORRECT:
            wrong.append((row.rule.value, row.reference))
    assert sorted(set(wrong)) == []


def test_options_are_not_changed_for_the_caller() -> None:
    reference = Reference("A", options=("Red", "BLUE"))
    for mode in Mode:
        grade_by_rule(Rule.CHOICE, "blue", reference, mode=mode)
    assert reference == Reference("A", options=("Red", "BLUE"))


def test_a_score_comes_with_token_f1_and_boxes() -> None:
    grade = grade_by_rule(Rule.TOKEN_F1, "Marie", Reference("Marie Curie"))
    assert grade == Grade(Verdict.UNGRADED, "token_f1", "some words are the same", 2 / 3)
    grade = grade_by_rule(Rule.BOX, "[0, 0, 2, 1]", Reference("[0, 0, 2, 2]"))
    assert (grade.verdict, grade.score) == (Verdict.CORRECT, 0.5)


def test_a_row_that_is_no_labelled_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl, row 1, field 'rule'"):
        read_labelled(tmp_path)


def test_the_agreement_of_a_judge_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A judge that says `correct` to two rows, one of which is labelled incorrect."""
    monkeypatch.setenv("AGENTIC_JUDGE_CACHE", str(tmp_path))
    cache, prompt = VerdictCache(tmp_path), load_prompt("consistency_v1")
    rows = {row.id: row for row in judged_rows(ROWS)}
    for row in (rows["text-001"], rows["text-006"]):
        references = (row.reference, *row.aliases)
        message = render_question(row.question, answer=row.answer, references=references)
        cache.add(
            Judgement(
                key=content_id("m", "2048", prompt.digest, message),
                judge="m",
                prompt=prompt.name,
                question=row.question,
                references=references,
                answer=row.answer,
                verdict=Verdict.CORRECT,
                is_parsed=True,
                reply="VERDICT: CORRECT",
                num_prompt_tokens=1,
                num_reply_tokens=1,
            )
        )
    cache.flush()
    assert main(["--judge", "replay", "--model", "m"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["num_rows"] == len(rows)
    assert (printed["num_as_labelled"], printed["num_passed_wrong"]) == (1, 1)
    assert printed["num_undecided"] == len(rows) - 2
