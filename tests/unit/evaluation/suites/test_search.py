"""FVQA-test, InfoSeek, SimpleVQA, RealX-Bench, and plain question files."""

import json

import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.search import split_alternatives
from agentic_vlm.grading import grade_answer
from agentic_vlm.schema import AnswerType, Verdict


@pytest.mark.parametrize(
    ("candidates", "aliases"),
    [
        ('["ES", "Spain", "Kingdom of Spain"]', ("ES", "Kingdom of Spain")),
        (["ES"], ("ES",)),
        (None, ()),
        ("Kingdom of Spain", ("Kingdom of Spain",)),
    ],
)
@pytest.mark.parametrize("suite", ["fvqa_test", "infoseek"])
def test_verl_rows_give_question_gold_and_aliases(
    parquet, read, pictures, suite, candidates, aliases
):
    row = {
        "prompt": [{"content": "<image>\nWhich country?", "role": "user"}],
        "images": [{"bytes": pictures.encoded("red"), "path": None}],
        "reward_model": {"ground_truth": "Spain", "candidate_answers": candidates, "style": "rule"},
        "data_source": "fvqa_test", "image_urls": None,
    }  # fmt: skip
    (item,) = read(suite, parquet("x.parquet", row))
    assert (item.question, item.answer, item.aliases) == ("Which country?", "Spain", aliases)
    assert item.images == (pictures.encoded("red"),)
    assert SUITES[suite].tools == ("python", "search", "image_search")


def test_a_verl_row_without_a_gold_names_the_row(parquet, read):
    row = {"prompt": [{"content": "q", "role": "user"}], "reward_model": {"style": "rule"}}
    with pytest.raises(RecordError, match="row 1, field 'reward_model': no ground_truth"):
        read("infoseek", parquet("x.parquet", row))


def test_simplevqa_headline_is_the_english_part(jsonl, read, figures_of, pictures):
    row = {"data_id": 5, "image": pictures.b64("red"), "image_description": "", "language": "CN",
           "question": "这是什么?", "answer": "黄山", "original_category": "x", "source": "y",
           "atomic_question": "", "atomic_fact": "", "vqa_category": "place"}  # fmt: skip
    (item,) = read("simplevqa", jsonl("SimpleVQA.jsonl", row))
    assert (item.answer, item.images) == ("黄山", (pictures.encoded("red"),))
    figures = figures_of("simplevqa", ({"language": "EN"}, True), ({"language": "CN"}, False))
    assert (figures["English part"].mean, figures["all questions"].mean) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("gold", "parts"),
    [
        ("7 or seven", ["7", "seven"]),
        ("7", ["7"]),
        ('"Now or Never"', ['"Now or Never"']),
        ("a (b or c) or d", ["a (b or c)", "d"]),
        ("Oregon or", ["Oregon or"]),
        ("x or y or z", ["x", "y", "z"]),
    ],
)
def test_alternatives_are_split_at_top_level_only(gold, parts):
    assert split_alternatives(gold) == parts


@pytest.mark.parametrize("kind", [int, str, float, bool])
def test_realx_labels_may_be_numbers_or_texts(parquet, read, pictures, kind):
    row = {"query": "Which year?", "answer": "1950 or 1951", "perception": kind(1),
           "search": kind(1), "reason": kind(0) if kind is not str else "0",
           "image": {"bytes": pictures.encoded("red"), "path": None}}  # fmt: skip
    if kind is bool:
        row["reason"] = False
    (item,) = read("realx_bench_194", parquet("train.parquet", row))
    assert item.marks == ("perception", "search")
    assert (item.answer, item.aliases) == ("1950", ("1951", "1950 or 1951"))
    assert grade_answer("1951", item).verdict is Verdict.CORRECT


def test_realx_may_be_a_folder_of_pictures_with_metadata(tmp_path, jsonl, read, pictures):
    (tmp_path / "realx").mkdir()
    (tmp_path / "realx" / "1.png").write_bytes(pictures.encoded("blue"))
    jsonl("realx/metadata.jsonl", {"file_name": "1.png", "query": "q?", "answer": "red",
                                   "perception": 0, "search": 0, "reason": 0})  # fmt: skip
    (item,) = read("realx_bench_194", tmp_path / "realx")
    assert (item.images, item.marks) == ((pictures.encoded("blue"),), ())


def test_a_realx_label_that_is_neither_names_the_row(jsonl, read, pictures):
    row = {"query": "q", "answer": "a", "perception": "hard", "image": pictures.b64("red")}
    with pytest.raises(RecordError, match="field 'perception': 'hard' is neither 0 nor 1"):
        read("realx_bench_194", jsonl("x.jsonl", row))


def test_the_realx_average_counts_questions_without_any_label(figures_of):
    every = ("perception", "search", "reason")
    rows = [((), True)] * 2 + [(("perception",), False), (("search",), False), (every, True)]
    figures = figures_of("realx_bench_194", *rows)
    assert list(figures) == ["average", "perception", "reason", "search", "integration"]
    assert figures["average"].mean == pytest.approx(3 / 5)
    assert (figures["perception"].mean, figures["perception"].n) == (0.5, 2)
    assert (figures["integration"].mean, figures["integration"].n) == (1.0, 1)


def test_the_public_part_of_realx_is_another_benchmark():
    assert SUITES["realx_bench_194"].column == ""
    assert SUITES["realx_bench_194"].title == "RealX-Bench-194"
    assert SUITES["realx_bench"].size == 300


def test_plain_questions_need_question_and_answer_only(jsonl, read):
    rows = [{"question": "q", "answer": 12}, {"question": "q", "answer": "B", "id": "x",
            "answer_type": "choice", "aliases": ["blue"], "category": "ocr"}]  # fmt: skip
    first, second = read("tir_bench", jsonl("tir.jsonl", *rows))
    assert (first.answer, first.answer_type, first.item_id) == ("12", AnswerType.INTEGER, "1")
    assert (second.aliases, second.labels) == (("blue",), {"category": "ocr"})
    with pytest.raises(RecordError, match="'colour' is none of choice"):
        read("plain", jsonl("x.jsonl", {"question": "q", "answer": "a", "answer_type": "colour"}))


def test_pocket_reads_what_ingest_wrote(tmp_path, read, make_sample, make_image):
    from agentic_vlm.schema import RawSample
    from agentic_vlm.store import ImageWriter, write_records

    with ImageWriter(tmp_path / "images") as images:
        ref = images.add(make_image())
    sample = RawSample(**make_sample(images=(ref,), flags=("perception",)).model_dump())
    write_records(tmp_path / "records", [sample], RawSample, key=lambda row: (row.sample_id,))
    (item,) = read("pocket", tmp_path)
    assert (item.answer, item.marks, len(item.images)) == ("red", ("perception",), 1)


def test_every_declaration_is_complete():
    for suite in SUITES.values():
        assert all((suite.prompt, suite.rule, suite.title)), suite.name
        assert all(len(known.md5) == 32 for known in suite.files), suite.name
        assert suite.aggregate([])[0].mean is None, suite.name
        json.dumps([figure._asdict() for figure in suite.aggregate([])])
