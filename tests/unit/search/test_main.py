"""The command line."""

import json
from pathlib import Path

import pytest

from agentic_vlm.search.__main__ import main

from .conftest import draw


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


def test_a_missing_corpus_is_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "x", "--corpus", str(tmp_path / "none")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
