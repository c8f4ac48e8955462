"""The command line."""

import json
from pathlib import Path

import pytest

from agentic_vlm.search.__main__ import main

from .conftest import draw

ROOT = Path(__file__).parents[3]


def test_a_query_prints_numbered_hits(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "founded", "--corpus", str(corpus)]) == 0
    assert capsys.readouterr().out == (
        "1. Velmora  https://x/velmora\n   Velmora is a mill founded in 1731.\n"
    )


def test_a_picture_prints_json(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(5).save(tmp_path / "asked.png")
    asked = ["picture", str(tmp_path / "asked.png"), "--corpus", str(corpus), "--json"]
    assert main([*asked, "--hits", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"title": "emblem 5", "link": "https://x/5"}


def test_nothing_found_is_said(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "dragon", "--corpus", str(corpus)]) == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_missing_answers_are_recorded_and_replayed_by_the_params(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(params)
    (tmp_path / "queries.txt").write_text("velmora\n\nthe mill\nvelmora\n")
    draw(5).save(tmp_path / "asked.png")
    place = ["--params", str(path), "--corpus", str(corpus)]
    record = ["record", str(tmp_path / "queries.txt"), *place]
    assert main([*record, "--pictures", str(tmp_path / "asked.png")]) == 0
    assert main(record) == 0
    folder = corpus.parent / "search_answers"
    assert capsys.readouterr().out == (
        f"3 searches: 3 new answers in {folder}, 0 failed\n"
        f"2 searches: 0 new answers in {folder}, 0 failed\n"
    )
    path.write_text(params.replace('recording: "off"', "recording: replay"))
    for query, status in (("the mill", 0), ("a windmill", 1)):
        assert main(["query", query, "--hits", "3", *place]) == status
    told = capsys.readouterr()
    assert told.out.startswith("1. ")
    assert "run the same once with search.recording set to record_missing" in told.err


def test_a_search_that_fails_while_recording_is_told(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("outage_share: 0.0", "outage_share: 1.0"))
    (tmp_path / "queries.txt").write_text("velmora\n")
    place = ["--params", str(tmp_path / "params.yaml"), "--corpus", str(corpus)]
    assert main(["record", str(tmp_path / "queries.txt"), *place]) == 1
    told = capsys.readouterr()
    assert "1 searches: 0 new answers" in told.out
    assert "this outage was asked for" in told.err


def test_a_missing_corpus_is_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "x", "--corpus", str(tmp_path / "none")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
