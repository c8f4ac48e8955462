"""The command line."""

import io
import json

import pytest

from agentic_vlm.grading.__main__ import main


def run(rows: list[str], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(rows)))
    return main(arguments)


def test_each_row_gets_a_verdict_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        '{"answer": "1,234", "reference": "1234"}',
        '{"answer": null, "reference": "1234"}',
        '{"answer": "NYC", "reference": "1", "aliases": ["NYC"]}',
    ]
    assert run(rows, ["integer"], monkeypatch) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed[0] == {
        "verdict": "correct",
        "rule": "integer",
        "reason": "the number 1234",
    }
    assert [row["verdict"] for row in printed] == ["correct", "incorrect", "correct"]


def test_whole_replies_are_read_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = '{"answer": "<think>3</think><answer>4</answer>", "reference": "4"}'
    assert run([row], ["guess", "--extract"], monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "correct"


@pytest.mark.parametrize("row", ["{", "[]", '{"answer": "1"}', '{"answer": 1, "reference": "1"}'])
def test_a_wrong_row_is_named_in_two_lines(
    row: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([row], ["integer"], monkeypatch) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("standard input, row 1: ")
    assert len(lines) == 2
