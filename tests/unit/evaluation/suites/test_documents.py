"""OCRBench, SEEDBench2-Plus, ChartQA, CV-Bench and CountBench in their published forms."""

import json

import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.grading import grade_answer
from agentic_vlm.schema import AnswerType, Verdict


def test_ocrbench_answers_are_lists_in_both_forms(tsv, parquet, read, pictures):
    row = {"question": "what is written?", "answer": "['stop', 'STOP!']"}
    (item,) = read("ocrbench", tsv("OCRBench.tsv", {
        "index": 1, "image": pictures.b64("red"), "category": "Regular Text Recognition", **row,
    }))  # fmt: skip
    assert (item.answer, item.aliases) == ("stop", ("STOP!",))
    (other,) = read("ocrbench", parquet("OCRBench.parquet", {
        "dataset": "IIIT5K", "question_type": "Regular Text Recognition", **row,
        "answer": ["stop", "STOP!"], "image": {"bytes": pictures.encoded("red"), "path": None},
    }))  # fmt: skip
    assert (other.answer, other.aliases, other.labels) == (item.answer, item.aliases, item.labels)


def test_an_empty_gold_that_would_match_everything_is_refused(tsv, read, pictures):
    row = {"index": 1, "image": pictures.b64("red"), "question": "q", "answer": "['']",
           "category": "x"}  # fmt: skip
    with pytest.raises(RecordError, match="no reference answer"):
        read("ocrbench", tsv("x.tsv", row))


def test_seedbench_has_two_column_styles(tsv, parquet, read, pictures):
    row = {"index": 1, "image": pictures.b64("red"), "question": "q", "A": "1", "B": "2",
           "answer": "A", "category": "chart"}  # fmt: skip
    original = {"question_id": "7", "question": "q", "choice_A": "1", "choice_B": "2",
                "answer": "A", "question_image_type": "chart",
                "image": {"bytes": pictures.encoded("red"), "path": None}}  # fmt: skip
    (first,) = read("seedbench2_plus", tsv("x.tsv", row))
    (second,) = read("seedbench2_plus", parquet("x.parquet", original))
    assert first.question == second.question
    assert first.labels == second.labels == {"category": "chart"}


def test_chartqa_has_three_forms(tmp_path, tsv, parquet, read, pictures):
    image = {"bytes": pictures.encoded("red"), "path": None}
    (item,) = read("chartqa", tsv("ChartQA_TEST.tsv", {
        "index": 1, "image": pictures.b64("red"), "question": "How many?", "answer": "14",
        "split": "test_human",
    }))  # fmt: skip
    assert item.question == "How many?\nAnswer the question using a single word or phrase."
    assert (item.answer_type, item.labels) == (AnswerType.FLOAT, {"split": "test_human"})
    (item,) = read("chartqa", parquet("x.parquet", {
        "type": "augmented_test", "question": "Who?", "answer": "Spain", "image": image,
    }))  # fmt: skip
    assert (item.answer_type, item.labels) == (AnswerType.TEXT, {"split": "test_augmented"})
    folder = tmp_path / "test"
    (folder / "png").mkdir(parents=True)
    (folder / "png" / "1.png").write_bytes(pictures.encoded("blue"))
    for split in ("test_human", "test_augmented"):
        rows = [{"imgname": "1.png", "query": "How many?", "label": "0.5"}]
        (folder / f"{split}.json").write_text(json.dumps(rows))
    items = read("chartqa", folder)
    assert [item.labels["split"] for item in items] == ["test_augmented", "test_human"]
    assert items[0].images == (pictures.encoded("blue"),)


def test_cvbench_weighs_its_sources_as_the_authors_do(parquet, read, figures_of, pictures):
    row = {"idx": 0, "type": "2D", "task": "Count", "question": "How many?",
           "choices": ["2", "3"], "answer": "(B)", "prompt": "How many? (A) 2 (B) 3",
           "source": "ADE20K", "image": {"bytes": pictures.encoded("red")}}  # fmt: skip
    (item,) = read("cvbench", parquet("x.parquet", row))
    assert (item.question, item.answer, item.aliases) == (row["prompt"], "B", ("3",))
    rows = [({"source": "ADE20K"}, True), ({"source": "COCO"}, False)]
    rows += [({"source": "Omni3D"}, True)] * 3 + [({"source": "Omni3D"}, False)]
    assert figures_of("cvbench", *rows)["2D and 3D"].mean == pytest.approx((0.5 + 0.75) / 2)
    assert figures_of("cvbench", *rows)["overall"].mean == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("3", Verdict.CORRECT),
        ("three", Verdict.CORRECT),
        ("13", Verdict.INCORRECT),
        ("3 or 4", Verdict.UNGRADED),
    ],
)
def test_countbench_takes_one_whole_number(parquet, read, pictures, answer, verdict):
    row = {"question": "How many dogs?", "number": 3.0,
           "image": {"bytes": pictures.encoded("red"), "path": None}}  # fmt: skip
    (item,) = read("countbench", parquet("x.parquet", row))
    assert grade_answer(answer, item).verdict is verdict
