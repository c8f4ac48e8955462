"""The command line."""

import io
import json

import pytest

from agentic_vlm.grading import Defect
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


def verdicts(
    rows: list[dict[str, object]],
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    assert run([json.dumps(row) for row in rows], arguments, monkeypatch) == 0
    return [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["count"], "incorrect"),
        (["count", "--mode", "official"], "incorrect"),
        (["count", "--mode", "paper"], "correct"),
        (["count", "--mode", "paper", "--without", "substring_count"], "incorrect"),
    ],
)
def test_the_mode_says_whose_rules_and_a_defect_can_be_switched_off(
    arguments: list[str],
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows: list[dict[str, object]] = [{"answer": "13", "reference": "3"}]
    assert verdicts(rows, arguments, monkeypatch, capsys) == [verdict]


def test_mode_paper_takes_the_first_answer_tags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = "<answer>3</answer> no, <answer>4</answer>"
    rows: list[dict[str, object]] = [{"answer": reply, "reference": "4"}]
    paper = ["integer", "--extract", "--mode", "paper"]
    assert verdicts(rows, ["integer", "--extract"], monkeypatch, capsys) == ["correct"]
    assert verdicts(rows, paper, monkeypatch, capsys) == ["incorrect"]
    without = [*paper, "--without", "first_tag"]
    assert verdicts(rows, without, monkeypatch, capsys) == ["correct"]


def test_options_precision_and_broken_signs_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, object]] = [
        {"answer": "blue", "reference": "B", "options": ["red", "blue"]},
        {"answer": "\ud83d", "reference": "B", "options": ["red", "blue"]},
    ]
    assert verdicts(rows, ["choice"], monkeypatch, capsys) == ["correct", "ungraded"]
    row: dict[str, object] = {"answer": "3.14159", "reference": "3.14", "precision": 2}
    assert verdicts([row], ["float"], monkeypatch, capsys) == ["correct"]


def test_the_defects_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defects"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [defect.value for defect in Defect]
