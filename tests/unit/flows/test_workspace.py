"""A workspace has one flow at a time, a repository records one experiment at a time."""

import os
import threading

import pytest

from flows.workspace import claim_records, claim_workspace


@pytest.mark.parametrize(
    ("claim", "what"),
    [
        (claim_workspace, "another flow is at work in {}"),
        (claim_records, "another experiment of {} is being recorded"),
    ],
    ids=["workspace", "records"],
)
def test_a_second_claim_waits_says_for_whom_and_goes_on(tmp_path, claim, what):
    said: list[str] = []
    waits, is_in = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def second() -> None:
        with claim(tmp_path, say=say):
            is_in.set()

    thread = threading.Thread(target=second)
    with claim(tmp_path, say=said.append):
        thread.start()
        assert waits.wait(timeout=60)
        assert not is_in.is_set()
    thread.join(timeout=60)
    assert is_in.is_set()
    (line,) = said
    assert line.startswith(f"{what.format(tmp_path)} (process {os.getpid()}, since ")
    assert line.endswith("; waiting until it ends")


def test_what_is_free_is_claimed_without_a_word_even_while_a_flow_records(tmp_path):
    said: list[str] = []
    for _ in range(2):
        with claim_workspace(tmp_path, say=said.append), claim_records(tmp_path, say=said.append):
            pass
    assert said == []
