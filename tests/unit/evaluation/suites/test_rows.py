"""Rows of published files: nothing is guessed at, nothing is held in memory, faults are named."""

import json
import tracemalloc

import pytest

from agentic_vlm.errors import ArtifactMissing, ImageError, RecordError
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import iter_rows


def test_cells_that_pandas_takes_for_missing_stay_texts(tsv):
    path = tsv(
        "x.tsv", {"index": 0, "A": "None", "B": "NA", "C": "10", "D": "", "E": "null", "more": "x"}
    )
    (row,) = iter_rows(path)
    assert dict(row.cells) == {
        "index": "0", "A": "None", "B": "NA", "C": "10", "E": "null", "more": "x",
    }  # fmt: skip
    assert row.maybe("D") is None


def test_a_quoted_cell_may_hold_newlines_tabs_and_quotes(tsv):
    question = 'first\nsecond\t"third"'
    (row,) = iter_rows(tsv("x.tsv", {"index": 1, "question": question}))
    assert row.text("question") == question


def test_a_cell_of_two_million_characters_is_read(tsv):
    (row,) = iter_rows(tsv("x.tsv", {"index": 1, "image": "A" * 2_000_000}))
    assert len(row.text("image")) == 2_000_000


def test_a_tsv_is_never_held_whole_in_memory(tsv):
    rows = [{"index": number, "image": chr(65 + number % 26) * 200_000} for number in range(40)]
    path = tsv("x.tsv", *rows)
    del rows
    tracemalloc.start()
    assert sum(1 for _ in iter_rows(path)) == 40
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 8 MB on disk; one row, its cells and the buffer of the parser.
    assert peak < 4_000_000


def test_a_short_image_cell_is_the_index_of_another_row(tsv, pictures):
    path = tsv(
        "x.tsv",
        {"index": 0, "image": "7", "question": "q"},
        {"index": 7, "image": pictures.b64("red"), "question": "q"},
        {"index": 8, "image": "7", "question": "q"},
    )
    assert [read_pictures(row, "image") for row in iter_rows(path)] == [
        (pictures.encoded("red"),),
        (pictures.encoded("red"),),
        (pictures.encoded("red"),),
    ]


def test_an_index_that_no_row_has_is_an_error_that_names_the_row(tsv):
    path = tsv("x.tsv", {"index": 0, "image": "9"})
    with pytest.raises(RecordError, match=r"x\.tsv, row 1, field 'image': '9' is neither"):
        read_pictures(next(iter_rows(path)), "image")


def test_a_cell_may_hold_a_list_of_pictures(tsv, pictures):
    path = tsv("x.tsv", {"index": 0, "image": str([pictures.b64("red"), pictures.b64("blue")])})
    assert read_pictures(next(iter_rows(path)), "image") == (
        pictures.encoded("red"),
        pictures.encoded("blue"),
    )


def test_pictures_keep_their_bytes_in_every_form(tmp_path, parquet, jsonl, pictures):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(pictures.encoded("red"))
    path = parquet(
        "x.parquet",
        {
            "image": {"bytes": pictures.encoded("red"), "path": None},
            "raw": pictures.encoded("red"),
            "text": pictures.b64("red"),
        },
    )
    row = next(iter_rows(path))
    assert [read_pictures(row, name) for name in ("image", "raw", "text")] == [
        (pictures.encoded("red"),)
    ] * 3
    row = next(
        iter_rows(
            jsonl(
                "x.jsonl",
                {"image": "images/1.jpg", "uri": f"data:image/jpeg;base64,{pictures.b64('red')}"},
            )
        )
    )
    assert [read_pictures(row, name) for name in ("image", "uri")] == [
        (pictures.encoded("red"),)
    ] * 2


def test_a_path_out_of_the_folder_is_refused(jsonl):
    row = next(iter_rows(jsonl("x.jsonl", {"image_path": "../secret.png"})))
    with pytest.raises(ImageError, match="leaves the folder"):
        read_pictures(row, "image_path")


def test_lists_are_read_as_literals_and_never_run(tsv):
    path = tsv(
        "x.tsv",
        {"index": 0, "answer": """['it\\'s', "None"]"""},
        {"index": 1, "answer": "__import__('os').getcwd()"},
    )
    first, second = iter_rows(path)
    assert first.items("answer") == ("it's", "None")
    with pytest.raises(RecordError, match=r"row 2, field 'answer': no list"):
        second.items("answer")


def test_quoted_metadata_may_hold_an_apostrophe(tsv):
    path = tsv("x.tsv", {"index": 0, "metadata": """{'subject': "Thales' theorem", 'n': None}"""})
    assert next(iter_rows(path)).fields("metadata") == {"subject": "Thales' theorem", "n": None}


def test_a_folder_gives_its_files_in_order(tmp_path):
    for number in (2, 1):
        rows = [{"index": number}]
        (tmp_path / f"chunk_{number}.json").write_text(json.dumps(rows))
    assert [row.text("index") for row in iter_rows(tmp_path)] == ["1", "2"]


def test_an_object_of_rows_is_read_too(tmp_path):
    path = tmp_path / "testmini.json"
    path.write_text(json.dumps({"1": {"pid": "1"}, "2": {"pid": "2"}}))
    assert [row.text("pid") for row in iter_rows(path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", b"", "empty"),
        ("x.tsv", b"a\tb\n1\t2\t3\n", "row 1: 3 cells under 2 columns"),
        ("x.jsonl", b'{"a": 1}\n[]\n', "row 2: a list, no object"),
        ("x.json", b"{", "no JSON"),
        ("x.parquet", b"PAR1", "no Parquet file"),
        ("x.xlsx", b"", "files that end in .xlsx"),
    ],
)
def test_a_broken_file_is_an_error_that_says_where(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        list(iter_rows(path))
    assert message in str(caught.value)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ArtifactMissing, match="no such file or folder"):
        list(iter_rows(tmp_path / "none.tsv"))
    with pytest.raises(ArtifactMissing, match="holds no TSV"):
        list(iter_rows(tmp_path))
