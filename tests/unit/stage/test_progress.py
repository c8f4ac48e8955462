"""Progress lines for the flow."""

import pytest

from agentic_vlm.progress import Progress


@pytest.fixture(autouse=True)
def _lines_on(monkeypatch):
    monkeypatch.setenv("AGENTIC_PROGRESS", "lines")


def test_the_first_and_the_last_step_are_told_and_those_between_are_throttled(capsys):
    with Progress("sample", total=50) as progress:
        assert list(progress.track(range(50))) == list(range(50))
    assert capsys.readouterr().out == "PROGRESS 0.02\nPROGRESS 1.00\n"


def test_nothing_is_told_without_the_switch(monkeypatch, capsys):
    monkeypatch.delenv("AGENTIC_PROGRESS")
    with Progress("sample", total=1) as progress:
        progress.advance()
    assert capsys.readouterr().out == ""


def test_nothing_to_do_is_finished(capsys):
    with Progress("sample", total=0) as progress:
        progress.advance(0)
    assert capsys.readouterr().out == "PROGRESS 1.00\n"
