"""MathVista, MathVerse, MathVision, WeMath, DynaMath, LogicVista, GSM8K as they are published."""

import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.grading import grade_answer
from agentic_vlm.schema import AnswerType, Verdict


def mathvista_row(pictures, **fields):
    return {
        "index": 1, "image": pictures.b64("red"), "question": "Hint: ...\nQuestion: Which?",
        "question_type": "multi_choice", "answer_type": "text", "answer": "No",
        "answer_option": "B", "choices": "['Yes', 'No']", "task": "geometry problem solving",
        "skills": "['arithmetic reasoning', 'logical reasoning']", **fields,
    }  # fmt: skip


def test_mathvista_tsv_gives_letters_and_free_forms(tsv, read, pictures):
    free = {"question_type": "free_form", "answer_option": "", "choices": ""}
    rows = [
        mathvista_row(pictures),
        mathvista_row(pictures, index=2, answer_type="float", answer="1.2", **free),
        mathvista_row(pictures, index=3, answer_type="list", answer="[1, 2]", **free),
        mathvista_row(pictures, index=4, answer_type="integer", answer="10", **free),
    ]
    items = read("mathvista", tsv("MathVista_MINI.tsv", *rows))
    assert [item.answer for item in items] == ["B", "1.2", "[1, 2]", "10"]
    assert [item.answer_type.value for item in items] == ["choice", "float", "list", "integer"]
    assert items[0].aliases == ("No",)


def test_mathvista_parquet_has_a_struct_and_a_decoded_picture(parquet, read, pictures):
    row = {
        "pid": "1", "question": "Which?", "query": "Hint: ...\nQuestion: Which?",
        "image": "images/1.jpg",
        "decoded_image": {"bytes": pictures.encoded("red"), "path": None}, "choices": ["Yes", "No"],
        "unit": None, "precision": 1.0, "answer": "No", "question_type": "multi_choice",
        "answer_type": "text", "metadata": {"split": "testmini", "skills": ["algebraic reasoning"],
        "task": "math word problem"},
    }  # fmt: skip
    (item,) = read("mathvista", parquet("testmini.parquet", row))
    assert (item.answer, item.question) == ("B", "Hint: ...\nQuestion: Which?")
    assert item.images == (pictures.encoded("red"),)
    assert item.labels == {"task": "math word problem", "skills": "algebraic reasoning"}


def test_mathvista_counts_an_item_in_each_of_its_skills(figures_of):
    rows = [({"skills": "a|b", "task": "t"}, True), ({"skills": "a", "task": "t"}, False)]
    figures = figures_of("mathvista", *rows)
    assert (figures["overall"].mean, figures["a"].mean, figures["b"].mean) == (0.5, 0.5, 1.0)


def test_mathverse_forms_agree(tmp_path, tsv, parquet, read, pictures):
    common = {"sample_index": "1", "problem_index": "1", "problem_version": "Text Lite",
              "question": "Find x.\nChoices:\nA:5\nB:7", "answer": "B",
              "question_type": "multi-choice"}  # fmt: skip
    quoted = """{'split': 'testmini', 'subject': "Thales' geometry", 'subfield': 'Angle'}"""
    about = {"split": "testmini", "subject": "Thales' geometry", "subfield": "Angle"}
    (first,) = read("mathverse", tsv("MathVerse_MINIV.tsv", {
        "index": 0, "image": pictures.b64("red"), "metadata": quoted, **common,
    }))  # fmt: skip
    (second,) = read("mathverse", parquet("testmini.parquet", {
        "image": {"bytes": pictures.encoded("red"), "path": None}, "metadata": about, **common,
    }))  # fmt: skip
    assert first == second
    assert first.aliases == ("7",)
    assert first.labels["subject"] == "Thales' geometry"
    assert grade_answer("The answer is B", first).verdict is Verdict.CORRECT


def test_mathverse_vision_only_rows_may_have_no_question(tsv, read, pictures):
    row = {"index": 0, "sample_index": "4", "problem_index": "1", "image": pictures.b64("red"),
           "problem_version": "Vision Only", "question": "", "answer": "12",
           "question_type": "free-form", "metadata": "{}"}  # fmt: skip
    (item,) = read("mathverse", tsv("x.tsv", row))
    assert item.question
    assert item.answer_type is AnswerType.MATH


def test_mathverse_is_the_mean_of_the_versions_with_a_picture(figures_of):
    rows = [({"version": "Text Dominant", "problem": str(n)}, True) for n in range(3)]
    rows += [({"version": "Vision Only", "problem": str(n)}, False) for n in range(3)]
    rows += [({"version": "Text Only", "problem": "0"}, True)]
    figures = figures_of("mathverse", *rows)
    assert figures["mean of five versions"].mean == pytest.approx(0.5)
    assert figures["mean of five versions"].n == 3
    assert figures["Text Only"].mean == 1.0


def test_mathvision_has_options_or_a_value(tsv, parquet, jsonl, read, pictures, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(pictures.encoded("red"))
    own = {"id": "1", "question": "How long?\n<image1>", "options": [], "answer": "10\\sqrt{2}",
           "image": "images/1.jpg", "level": 2, "subject": "algebra"}  # fmt: skip
    (item,) = read("mathvision", jsonl("test.jsonl", own))
    assert (item.question, item.answer_type) == ("How long?", AnswerType.MATH)
    assert grade_answer("10\\sqrt{2}", item).verdict is Verdict.CORRECT
    (other,) = read("mathvision", parquet("test.parquet", {
        **own, "options": ["1", "2"], "answer": "B",
        "decoded_image": {"bytes": pictures.encoded("red"), "path": None},
    }))  # fmt: skip
    assert (other.answer, other.aliases, other.images) == ("B", ("2",), (pictures.encoded("red"),))
    rows = [
        {"index": 0, "image": pictures.b64("red"), "question": "q", "choices": "[]",
         "answer": "7", "category": "algebra"},
        {"index": 1, "image": pictures.b64("red"), "question": "q", "choices": "['A', 'B']",
         "answer": "A", "category": "algebra"},
    ]  # fmt: skip
    free, choice = read("mathvision", tsv("MathVision.tsv", *rows))
    assert (free.answer_type, choice.answer_type) == (AnswerType.MATH, AnswerType.CHOICE)
    assert choice.aliases == ()


def wemath_rows(pictures):
    for key in ("2steps_1", "2steps_2", "2steps_multi", "3steps_1", "3steps_2", "3steps_3",
                "3steps_multi"):  # fmt: skip
        yield {"index": key, "ID": "1", "key": key, "question": "q", "A": "1", "B": "2",
               "answer": "A", "knowledge concept": "x", "image": pictures.b64("red")}  # fmt: skip


def test_wemath_groups_the_steps_of_a_problem(tsv, read, pictures):
    items = read("wemath", tsv("WeMath.tsv", *wemath_rows(pictures)))
    assert [item.labels["problem"] for item in items] == ["2steps/1"] * 3 + ["3steps/1"] * 4
    assert [item.labels["step"] for item in items] == ["single"] * 2 + ["multi"] + [
        "single"] * 3 + ["multi"]  # fmt: skip
    broken = {**next(wemath_rows(pictures)), "key": "5steps"}
    with pytest.raises(RecordError, match="none of 2steps_1"):
        read("wemath", tsv("x.tsv", broken))


def problem(name, singles, whole):
    labels = {"problem": f"2steps/{name}", "kind": "2steps"}
    rows = [({**labels, "step": "single"}, is_right) for is_right in singles]
    return [*rows, ({**labels, "step": "multi"}, whole)]


def test_wemath_scores_mastery_and_half_of_generalization(figures_of):
    rows = [
        *problem("mastery", (True, True), True),
        *problem("generalization", (True, True), False),
        *problem("rote", (False, True), True),
        *problem("knowledge", (False, False), False),
    ]
    figures = figures_of("wemath", *rows)
    assert figures["score, strict"].mean == pytest.approx((1 + 0.5) / 4)
    # Loose: one right step is enough for mastery.
    assert figures["score, loose"].mean == pytest.approx((2 + 0.5) / 4)
    assert figures["complete mastery, strict"].mean == pytest.approx(1 / 4)
    assert figures["insufficient knowledge"].mean == pytest.approx(1 / 4)
    assert figures["rote memorization, strict"].mean == pytest.approx(1 / 2)
    assert (figures["one step"].mean, figures["2steps"].mean) == (5 / 8, 1 / 2)


def test_wemath_leaves_out_problems_that_were_not_asked_whole(figures_of):
    rows = [*problem("whole", (True, True), True), *problem("part", (True,), False)]
    figures = figures_of("wemath", *rows)
    assert (figures["score, strict"].mean, figures["score, strict"].n) == (1.0, 1)


def test_wemath_without_any_solved_problem_divides_by_nothing(figures_of):
    figures = figures_of("wemath", *problem("x", (False, False), False))
    assert figures["rote memorization, strict"].mean is None
    assert figures["score, strict"].mean == 0.0


def dynamath_row(pictures, **fields):
    return {"question": "How much?", "image": pictures.b64("red"), "answer": "3.500",
            "answer_type": "float", "subject": "algebra", "knowledge_level": "high school",
            **fields}  # fmt: skip


def test_dynamath_has_ten_splits_or_a_column(tsv, parquet, read, pictures, tmp_path):
    rows = [dynamath_row(pictures, index=v, qid=7, varid=v) for v in (1, 2)]
    items = read("dynamath", tsv("DynaMath.tsv", *rows))
    assert [item.item_id for item in items] == ["7/1", "7/2"]
    for variant in range(1, 11):
        parquet(f"data/sample_variant{variant}-00000-of-00001.parquet", {
            "id": "7", "question": "How much?", "ground_truth": "3.500", "answer_type": "float",
            "image": "images/7.png", "subject": "algebra", "knowledge_level": "high school",
            "decoded_image": {"bytes": pictures.encoded("red"), "path": None},
        })  # fmt: skip
    items = read("dynamath", tmp_path / "data")
    assert {item.item_id for item in items} == {f"7/{variant}" for variant in range(1, 11)}
    assert items[0].images == (pictures.encoded("red"),)


def test_dynamath_asks_for_json_and_reads_it(tsv, read, pictures):
    from agentic_vlm.evaluation.suites import SUITES

    row = dynamath_row(pictures, index=1, qid=7, varid=1)
    (item,) = read("dynamath", tsv("x.tsv", row))
    assert "`short answer`, a number with three decimals" in item.question
    reader = SUITES["dynamath"].read_answer
    for text in (
        '{"solution": "x", "short answer": "3.500"}',
        '```json\n{"solution": "\\frac{7}{2} so", "short answer": 3.500}\n```',
        '{"short answer": "3.500", "solution": "\\sqrt{2}"}',
        "3.500",
    ):
        assert grade_answer(reader(text), item).verdict is Verdict.CORRECT, text


def test_dynamath_gives_average_and_worst_case(figures_of):
    rows = [({"seed": "easy"}, True)] * 10 + [({"seed": "hard"}, n > 0) for n in range(10)]
    figures = figures_of("dynamath", *rows)
    assert figures["average"].mean == pytest.approx(19 / 20)
    assert figures["worst case"].mean == pytest.approx(1 / 2)
    assert figures["average"].n == figures["worst case"].n == 2


def test_dynamath_has_a_worst_case_per_subject_and_level(figures_of):
    easy, hard = {"subject": "algebra", "level": "high"}, {"subject": "geometry", "level": "high"}
    rows = [({"seed": "a", **easy}, True)] * 10 + [
        ({"seed": "b", **hard}, n > 0) for n in range(10)
    ]
    figures = figures_of("dynamath", *rows)
    means = {name: found.mean for name, found in figures.items() if name.startswith("worst case, ")}
    assert means == {
        "worst case, algebra": 1.0, "worst case, geometry": 0.0, "worst case, high": 0.5,
    }  # fmt: skip
    assert (figures["worst case, high"].n, figures["geometry"].mean) == (2, pytest.approx(0.9))


def test_dynamath_asks_all_variants_of_a_seed_in_one_attempt(figures_of):
    """Two attempts that each miss another variant are two worst cases, not one group of twenty."""
    rows = [
        ({"seed": "a", "attempt": str(attempt)}, variant != attempt)
        for attempt in (1, 2)
        for variant in range(10)
    ]
    rows += [({"seed": "b", "attempt": str(attempt)}, True) for attempt in (1, 2)] * 10
    worst = figures_of("dynamath", *rows)["worst case"]
    assert (worst.mean, worst.n) == (0.5, 2)
    # A seed of which only nine variants were asked has no worst case.
    assert figures_of("dynamath", *rows[1:])["worst case"].mean == pytest.approx(2 / 3)


def test_dynamath_shows_both_bounds_of_what_is_undecided(figures_of):
    rows = [({"seed": "a"}, True)] * 9 + [({"seed": "a"}, None)] + [({"seed": "b"}, True)] * 10
    worst = figures_of("dynamath", *rows)["worst case"]
    assert (worst.mean, worst.lowest, worst.highest, worst.num_ungraded) == (1.0, 0.5, 1.0, 1)


def test_logicvista_gold_may_be_several_letters(tsv, read, pictures):
    row = {"index": 1, "image": pictures.b64("red"), "question": "Which?\nA. x\nB. y",
           "answer": "A,C", "skill": "['inductive', 'spatial']"}  # fmt: skip
    several, single = read("logicvista", tsv("x.tsv", row, {**row, "index": 2, "answer": "B"}))
    assert several.labels == {"skills": "inductive|spatial"}
    for answer, verdict in (("C, A", Verdict.CORRECT), ("A", Verdict.INCORRECT)):
        assert grade_answer(answer, several).verdict is verdict
    assert single.answer_type is AnswerType.CHOICE


def test_gsm8k_has_its_answer_after_the_mark(jsonl, read):
    row = {"question": "How many?", "answer": "work <<1+1=2>>2\n#### 1,234"}
    (item,) = read("gsm8k", jsonl("test.jsonl", row))
    assert (item.answer, item.images) == ("1234", ())
    with pytest.raises(RecordError, match="no final"):
        read("gsm8k", jsonl("x.jsonl", {"question": "q", "answer": "12"}))
