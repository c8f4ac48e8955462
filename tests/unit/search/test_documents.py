"""Documents from files."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from agentic_vlm.errors import AgenticError
from agentic_vlm.search.__main__ import main
from agentic_vlm.search.documents import Document, PictureDocument, read_documents

from .conftest import draw, encode

ROW = {"id": 7, "title": "Dorn", "text": "A village.", "date": "2021", "url": "https://w.example/d"}
PAGE = Document("7", "Dorn", "A village.", "2021", "https://w.example/d")


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_a_row_of_json_lines_is_a_page(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROW, "", {"contents": "only text"})
    assert list(read_documents(path)) == [
        PAGE,
        Document("a/000000003", "", "only text", "", "a/000000003"),
    ]


@pytest.mark.parametrize("picture", ["p.png", {"bytes": None, "path": "p.png"}])
def test_a_picture_lies_beside_the_file_or_in_the_folder(tmp_path: Path, picture: object) -> None:
    draw(5).save(tmp_path / "p.png")
    path = write_lines(tmp_path / "a.jsonl", {**ROW, "image": picture})
    page, shown = read_documents(path)
    assert (page, shown.link) == (PAGE, PAGE.link)
    assert isinstance(shown, PictureDocument)
    assert Image.open(io.BytesIO(shown.png)).tobytes() == draw(5).tobytes()


def test_parquet_has_the_same_columns(tmp_path: Path) -> None:
    content = {"bytes": encode(draw(5)), "path": None}
    pq.write_table(pa.Table.from_pylist([{**ROW, "image": content}]), tmp_path / "a.parquet")
    page, shown = read_documents(tmp_path / "a.parquet")
    assert page == PAGE
    assert isinstance(shown, PictureDocument)


def test_paragraphs_of_squad_are_pages(tmp_path: Path) -> None:
    paragraphs = [{"context": "One.", "qas": []}, {"context": "Two.", "qas": []}]
    squad = {"version": "1.1", "data": [{"title": "A_B", "paragraphs": paragraphs}]}
    path = tmp_path / "s.json"
    path.write_text(json.dumps(squad))
    assert list(read_documents(path)) == [
        Document("s/000000001", "A B", "One.", "", "squad:A_B/0"),
        Document("s/000000002", "A B", "Two.", "", "squad:A_B/1"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{", "a.jsonl, row 1: no JSON"),
        ("a.jsonl", "[]", "a.jsonl, row 1: no JSON object"),
        ("a.jsonl", '{"title": "x"}', "row 1, field 'text': neither text nor a picture"),
        ("a.jsonl", '{"text": ["x"]}', "row 1, field 'text': no text: list"),
        ("a.jsonl", '{"text": "x", "image": "none.png"}', "none.png cannot be read"),
        ("a.jsonl", '{"text": "x", "image": 5}', "row 1, field 'image': int"),
        ("a.jsonl", '{"text": "x", "image": "a.jsonl"}', "field 'image': broken picture"),
        ("a.json", '{"data": [{}]}', "a.json: no SQuAD file: KeyError: 'paragraphs'"),
        ("a.json", "[]", "no SQuAD file"),
        ("a.parquet", "x", "a.parquet: Parquet"),
        ("a.csv", "", "not '.csv'"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(AgenticError) as caught:
        list(read_documents(tmp_path / name))
    assert message in str(caught.value)


def test_the_command_builds_a_corpus_that_finds_text_page_and_part_of_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(16):
        draw(number, size_px=96).save(tmp_path / f"{number}.png")
    rows = [
        {"id": f"{number:02}", "title": f"emblem {number}", "text": "x", "image": f"{number}.png"}
        for number in range(16)
    ]
    corpus = tmp_path / "corpus"
    path = write_lines(tmp_path / "a.jsonl", ROW, *rows)
    assert main(["build", str(path), "--corpus", str(corpus)]) == 0
    assert capsys.readouterr().out == f"17 pages and 16 pictures -> {corpus}\n"
    assert main(["query", "village", "--corpus", str(corpus)]) == 0
    assert capsys.readouterr().out == "1. Dorn  https://w.example/d\n   A village.\n"
    draw(5, size_px=96).crop((8, 0, 96, 80)).save(tmp_path / "part.png")
    assert main(["picture", str(tmp_path / "part.png"), "--corpus", str(corpus), "--hits=1"]) == 0
    assert capsys.readouterr().out == "1. emblem 5  05\n"


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(tmp_path / "none.jsonl"), "--corpus", str(tmp_path / "c")]) == 1
    assert "no such file" in capsys.readouterr().err
    path = write_lines(tmp_path / "a.jsonl", ROW, ROW)
    assert main(["build", str(path), "--corpus", str(tmp_path / "c")]) == 1
    assert "same article_id" in capsys.readouterr().err
