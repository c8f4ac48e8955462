"""V*, HRBench and MME-RealWorld in their published forms."""

import json

import pytest

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.evaluation.suites.item import rule_of, to_sample
from agentic_vlm.grading import grade_answer
from agentic_vlm.schema import AnswerType, Verdict


def test_vstar_tsv_gives_options_gold_and_original_bytes(tsv, read, pictures):
    row = {"index": 0, "image": pictures.b64("red"), "question": "What colour?", "A": "None",
           "B": "10", "answer": "B", "category": "direct_attributes"}  # fmt: skip
    (item,) = read("vstar", tsv("VStarBench.tsv", row))
    assert item.question == (
        "Question: What colour?\nOptions:\nA. None\nB. 10\n"
        "Please select the correct answer from the options above."
    )
    assert (item.answer, item.aliases, item.answer_type) == ("B", ("10",), AnswerType.CHOICE)
    assert item.images == (pictures.encoded("red"),)
    assert item.labels == {"category": "direct_attributes"}


def test_vstar_folders_shuffle_the_options_the_same_way_every_time(tmp_path, read, pictures):
    for folder in ("direct_attributes", "relative_position", "OCR"):
        (tmp_path / folder).mkdir()
        for name in ("sa_1", "sa_2", "sa_3", "sa_4"):
            (tmp_path / folder / f"{name}.jpg").write_bytes(pictures.encoded("red"))
            row = {"question": "Which?", "options": ["right", "w1", "w2", "w3"], "bbox": [[1, 2]]}
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(row))
    items = read("vstar", tmp_path)
    # The exploratory folder OCR is no part of the score.
    assert {item.labels["category"] for item in items} == {"direct_attributes", "relative_position"}
    assert {item.aliases for item in items} == {("right",)}
    assert len({item.answer for item in items}) > 1
    assert [item.question for item in read("vstar", tmp_path)] == [i.question for i in items]
    (tmp_path / "direct_attributes" / "sa_1.jpg").unlink()
    with pytest.raises(ArtifactMissing, match="the picture beside it is missing"):
        read("vstar", tmp_path)


TEXT = (
    "Which?\n(A) left\n(B) right\nAnswer with the option's letter from the given choices directly."
)


def test_vstar_test_questions_bring_their_own_prompt(tmp_path, read, jsonl, parquet, pictures):
    row = {"text": TEXT, "label": "B", "category": "relative_position", "question_id": 3}
    jsonl("vstar/test_questions.jsonl", {**row, "image": "relative_position/x.jpg"})
    (tmp_path / "vstar" / "relative_position").mkdir()
    (tmp_path / "vstar" / "relative_position" / "x.jpg").write_bytes(pictures.encoded("red"))
    mirror = parquet(
        "mirror.parquet", {**row, "image": {"bytes": pictures.encoded("red"), "path": "x"}}
    )
    for path in (tmp_path / "vstar", mirror):
        (item,) = read("vstar", path)
        assert (item.question, item.answer, item.aliases) == (TEXT, "B", ("right",))
        assert item.images == (pictures.encoded("red"),)


def hr_rows(pictures, category, question):
    texts = ["red", "blue", "green", "black"]
    for cycle in range(4):
        turned = texts[cycle:] + texts[:cycle]
        yield {
            "index": f"{question}{cycle}", "question": question, "answer": "ABCD"[-cycle % 4],
            "category": category, **dict(zip("ABCD", turned, strict=True)),
            "cycle_category": str(cycle), "image": pictures.b64("blue"),
        }  # fmt: skip


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_hrbench_knows_which_rows_are_one_question(form, tsv, parquet, read, pictures):
    rows = [*hr_rows(pictures, "single", "s?"), *hr_rows(pictures, "cross", "c?")]
    write = tsv if form == "tsv" else parquet
    items = read("hrbench_4k", write(f"hr_bench_4k.{form}", *rows))
    assert len(items) == 8
    assert [item.labels["cycle"] for item in items] == list("01230123")
    assert len({item.labels["question"] for item in items}) == 2
    assert {item.aliases for item in items} == {("red",)}


def test_hrbench_is_the_mean_over_cycles_and_draws_whole_questions(figures_of):
    rows = [
        ({"category": kind, "cycle": str(cycle), "question": f"{kind}{number}"}, is_right)
        for kind, rights in (("single", (4, 4, 0)), ("cross", (2, 4, 0)))
        for number, num_right in enumerate(rights)
        for cycle, is_right in enumerate([True] * num_right + [False] * (4 - num_right))
    ]
    figures = figures_of("hrbench_4k", *rows)
    assert figures["overall"].mean == pytest.approx(14 / 24)
    assert figures["single"].mean == pytest.approx(8 / 12)
    assert figures["cross"].mean == pytest.approx(6 / 12)
    # Six questions, not 24 answers: the interval is as wide as six draws make it.
    assert figures["overall"].n == 6
    assert figures["overall"].high - figures["overall"].low > 0.5


def test_hrbench_is_not_all_four_orders_right(figures_of):
    rows = [
        ({"category": "single", "cycle": str(cycle), "question": "q"}, cycle < 3)
        for cycle in range(4)
    ]
    assert figures_of("hrbench_8k", *rows)["overall"].mean == pytest.approx(0.75)


MME = {
    "question": "What is on the sign?",
    "multi-choice options": ["(A) red", "(B) None", "(C) 10", "(D) NA", "(E) not in the image"],
    "answer": "C",
    "category": "Perception/OCR with Complex Context",
    "l2-category": "signage",
}


def test_mme_realworld_reads_chunks_of_a_folder(tmp_path, read, pictures):
    for number in (0, 1):
        row = {**MME, "index": number, "image": pictures.b64("red")}
        (tmp_path / f"part_{number}.json").write_text(json.dumps([row]))
    items = read("mme_realworld", tmp_path)
    assert [item.item_id for item in items] == ["0", "1"]
    assert items[0].question.startswith(
        "What is on the sign? The choices are listed below:\n(A) red\n"
    )
    assert items[0].question.endswith("The best answer is:")
    assert (items[0].answer, items[0].aliases) == ("C", ("10",))
    assert items[0].labels["subtask"] == "Perception/OCR with Complex Context"


def test_mme_realworld_lite_has_options_as_a_literal_and_cn_asks_in_chinese(tsv, read, pictures):
    row = {**MME, "index": 5, "image": pictures.b64("red"),
           "multi-choice options": str(MME["multi-choice options"])}  # fmt: skip
    (item,) = read("mme_realworld_lite", tsv("MME-RealWorld-Lite.tsv", row))
    assert item.answer == "C"
    (item,) = read("mme_realworld_cn", tsv("MME-RealWorld-CN.tsv", row))
    assert "选项如下所示" in item.question


def test_mme_realworld_parquet_has_base64_text_in_bytes(parquet, read, pictures):
    row = {**MME, "index": "5", "bytes": pictures.b64("green")}
    (item,) = read("mme_realworld", parquet("x.parquet", row))
    assert item.images == (pictures.encoded("green"),)


def test_mme_realworld_gives_micro_and_class_means(figures_of):
    rows = [({"task": "Perception", "subtask": "Perception/a"}, True)] * 3
    rows += [({"task": "Reasoning", "subtask": "Reasoning/b"}, False)]
    figures = figures_of("mme_realworld", *rows)
    assert figures["overall"].mean == 0.75
    assert figures["mean of subtasks"].mean == 0.5
    assert figures["Perception"].mean == 1.0


def test_a_gold_letter_that_is_no_option_names_the_row(tsv, read, pictures):
    row = {"index": 0, "image": pictures.b64("red"), "question": "q", "A": "x", "answer": "D"}
    with pytest.raises(RecordError, match=r"row 1, field 'answer': 'D' is none of the options A"):
        read("vstar", tsv("x.tsv", row))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("B", Verdict.CORRECT),
        ("(B)", Verdict.CORRECT),
        ("The answer is B.", Verdict.CORRECT),
        ("black", Verdict.CORRECT),
        ("Best", Verdict.UNGRADED),
        ("A", Verdict.INCORRECT),
    ],
)
def test_choices_are_graded_by_letter_or_text(tsv, read, pictures, answer, verdict):
    row = {"index": 0, "image": pictures.b64("red"), "question": "q", "A": "white", "B": "black",
           "answer": "B"}  # fmt: skip
    (item,) = read("seedbench2_plus", tsv("x.tsv", row))
    assert grade_answer(answer, item).verdict is verdict


def test_rule_and_options_travel_with_the_sample(tsv, read, pictures):
    row = {"index": 0, "image": pictures.b64("red"), "question": "q", "A": "x=1", "B": "None",
           "answer": "B", "category": "chart"}  # fmt: skip
    (item,) = read("seedbench2_plus", tsv("x.tsv", row))
    sample = to_sample(item, (), suite="seedbench2_plus", family="perception")
    assert rule_of(sample) == ("choice", ("x=1", "None"))
    assert "category=chart" in sample.flags
