"""A judge behind our own endpoint: real server, real client, a model that can compare texts."""

import asyncio
import json
import re

import pytest

from agentic_vlm.errors import JudgeBudgetSpent, JudgeUnavailable
from agentic_vlm.evaluation.suites.charxiv_rubrics import descriptive_group
from agentic_vlm.grading import Attempt
from agentic_vlm.grading.judge import JudgedAnswer
from agentic_vlm.grading.judges import open_judge
from agentic_vlm.grading.labelled import read_labelled
from agentic_vlm.grading.labelled.__main__ import main
from agentic_vlm.grading.labelled.agreement import judged_rows
from agentic_vlm.params import GradingParams, JudgeOptions
from agentic_vlm.schema import Verdict

RIGHT, WRONG, OPEN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNGRADED


def compares(request):
    """Judge by letters alone, read what stands in the message, and keep to no form now and then."""
    asked = request.messages[-1].text
    if "For each of T1, T2" in asked:
        scores = {}
        for place, case in enumerate(re.findall(_CASE, asked, re.MULTILINE), start=1):
            reference, given = map(json.loads, case)
            scores[f"extracted_answer_T{place}"] = given
            scores[f"score_T{place}"] = int(given == reference)
        return f"<answer>{json.dumps(scores)}</answer>"
    if "score it 0 or 1 by this rule" in asked:
        given = json.loads(asked.rpartition("Response: ")[2].splitlines()[0])
        score = int(json.dumps(given) in asked.partition("Reference: ")[2].splitlines()[0])
        body = json.dumps({"extracted_answer": given, "score": score})
        return f"<answer>{body}</answer>"
    found = dict(line.split(": ", 1) for line in asked.splitlines() if line.startswith(_FIELDS))
    answer, references = json.loads(found["Answer"]), json.loads(found["References"])
    if "Its only key is `grade`" in asked:
        said = "CORRECT" if answer in references else "INCORRECT"
        grade = "NOT_ATTEMPTED" if answer == "I cannot say" else said
        return f"<answer>{json.dumps({'grade': grade})}</answer>"
    if answer == "hm":
        return "<answer>VERDICT: UNDECIDED</answer>"
    if "yes" in answer.lower():
        return "<answer>No. The model said yes</answer>"
    is_same = answer.strip(" .").lower() in {text.lower() for text in references}
    return f"<answer>Compared.\nVERDICT: {'CORRECT' if is_same else 'INCORRECT'}</answer>"


_CASE = r"^Reference: (.*)\nResponse: (.*)$"
_FIELDS = ("Answer: ", "References: ")


@pytest.fixture
def server(serve, monkeypatch, tmp_path):
    server = serve(compares)
    monkeypatch.setenv("AGENTIC_JUDGE_URL", f"{server.url}/v1")
    monkeypatch.setenv("AGENTIC_JUDGE_KEY", "secret")
    monkeypatch.setenv("AGENTIC_JUDGE_CACHE", str(tmp_path / "verdicts"))
    return server


def ask(kind, root, *answers, rubric="", **options):
    """Ask about answers to one question; return the verdicts and the counts."""
    params = GradingParams(
        judge=kind, judge_model="agent", judge_options=JudgeOptions(num_retries=0, **options)
    )

    async def run():
        async with open_judge(params, root=root) as judge:
            verdicts = []
            for answer in answers:
                try:
                    if rubric:
                        work = judge.judge_by_rubric(
                            rubric, question="?", answer=answer, references=("red",)
                        )
                    else:
                        work = judge.judge("?", answer=answer, references=("red", "crimson"))
                    verdicts.append(await work)
                except JudgeBudgetSpent:
                    verdicts.append("spent")
                except JudgeUnavailable:
                    verdicts.append("unavailable")
            return verdicts, judge.counts

    return asyncio.run(run())


def test_verdicts_undecided_and_formless_replies_are_told_apart(server, tmp_path):
    verdicts, counts = ask("openai", tmp_path, "Red.", "blue", "hm", "yes", "Crimson", "Red.")
    assert verdicts == [RIGHT, WRONG, OPEN, OPEN, RIGHT, RIGHT]
    assert (counts.num_calls, counts.num_cached) == (5, 1)
    assert (counts.num_correct, counts.num_incorrect) == (2, 1)
    assert (counts.num_undecided, counts.num_unparsed) == (1, 1)


def test_what_was_judged_is_replayed_when_the_server_is_gone(server, tmp_path):
    ask("openai", tmp_path, "Red.", "yes")
    server.should_exit = True
    server.thread.join(60)
    verdicts, counts = ask("replay", tmp_path, "Red.", "yes", "green")
    assert verdicts == [RIGHT, OPEN, "unavailable"]
    assert (counts.num_calls, counts.num_cached, counts.num_unavailable) == (0, 2, 1)
    verdicts, counts = ask("openai", tmp_path, "Red.", "green")
    assert verdicts == [RIGHT, "unavailable"]
    assert (counts.num_cached, counts.num_calls, counts.num_unavailable) == (1, 1, 1)


def test_a_wrong_key_is_an_outage_that_tells_no_key(server, tmp_path, monkeypatch):
    monkeypatch.setenv("AGENTIC_JUDGE_KEY", "hunter2")
    verdicts, counts = ask("openai", tmp_path, "Red.")
    assert (verdicts, counts.num_unavailable) == (["unavailable"], 1)


def test_a_budget_stops_the_questions_and_keeps_the_verdicts(server, tmp_path):
    verdicts, counts = ask("openai", tmp_path, "Red.", "blue", "green", "Red.", max_calls=2)
    assert verdicts == [RIGHT, WRONG, "spent", RIGHT]
    assert (counts.num_calls, counts.num_not_asked, counts.num_cached) == (2, 1, 1)


RUBRIC = (
    "score it 0 or 1 by this rule: the same.\nReference: {reference}\nResponse: {{PREDICTION}}\n"
)


def test_a_rubric_is_a_question_of_its_own(server, tmp_path):
    first, second = (RUBRIC.format(reference=json.dumps(text)) for text in ("red", "blue"))
    assert ask("openai", tmp_path, "red", "green", rubric=first)[0] == [RIGHT, WRONG]
    verdicts, counts = ask("openai", tmp_path, "red", rubric=second)
    assert (verdicts, counts.num_cached) == ([WRONG], 0)
    assert ask("replay", tmp_path, "red", rubric=first)[0] == [RIGHT]


def decide(kind, root, work_of):
    """Ask one question of a judge; return what it says and the counts."""
    params = GradingParams(
        judge=kind, judge_model="agent", judge_options=JudgeOptions(num_retries=0)
    )

    async def run():
        async with open_judge(params, root=root) as judge:
            return await work_of(judge), judge.counts

    return asyncio.run(run())


def test_what_was_not_attempted_is_told_over_http_and_replayed(server, tmp_path):
    for answer, attempt in (
        ("red", Attempt.CORRECT), ("blue", Attempt.INCORRECT),
        ("I cannot say", Attempt.NOT_ATTEMPTED),
    ):  # fmt: skip
        for kind in ("openai", "replay"):
            said, counts = decide(
                kind, tmp_path,
                lambda judge, answer=answer: judge.judge_attempt(
                    "?", answer=answer, references=("red",)
                ),
            )  # fmt: skip
            assert (said, counts.num_calls) == (attempt, int(kind == "openai"))


def test_five_answers_are_one_request_over_http(server, tmp_path):
    answers = [JudgedAnswer("?", text, ("red",)) for text in ("red", "blue", "red", "x", "red")]
    for kind in ("openai", "replay"):
        said, counts = decide(
            kind, tmp_path, lambda judge: judge.judge_group(descriptive_group(2), answers)
        )
        assert said == [RIGHT, WRONG, RIGHT, WRONG, RIGHT]
        assert (counts.num_calls, counts.num_cached) == ((1, 0) if kind == "openai" else (0, 5))


@pytest.mark.parametrize("num_asked", [40, pytest.param(None, marks=pytest.mark.slow, id="all")])
def test_agreement_with_the_labelled_set_is_printed(server, tmp_path, capsys, num_asked):
    limits = [] if num_asked is None else ["--max-calls", str(num_asked)]
    assert main(["--judge", "openai", "--model", "agent", "--wrong", *limits]) == 0
    *told, last = capsys.readouterr().out.splitlines()
    printed = json.loads(last)
    rows = judged_rows(read_labelled())
    assert printed["num_rows"] == len(rows) >= 200
    counts = printed["counts"]
    asked = counts["num_calls"]
    assert asked + counts["num_cached"] + counts["num_not_asked"] == len(rows)
    assert asked == (num_asked or asked)
    assert (counts["num_not_asked"] > 0) is (num_asked is not None)
    assert counts["num_correct"] > 0
    assert counts["num_incorrect"] > 0
    # Letters alone fail what a person calls right in other words, and such rows are named.
    assert printed["num_failed_right"] > 0
    assert sum(": incorrect, not correct" in line for line in told) == printed["num_failed_right"]
    server.should_exit = True
    server.thread.join(60)
    assert main(["--judge", "replay", "--model", "agent"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    same = ("num_rows", "num_right", "num_as_labelled", "num_passed_wrong", "num_failed_right")
    assert {name: again[name] for name in same} == {name: printed[name] for name in same}
