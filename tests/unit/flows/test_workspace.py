"""A workspace has one flow at a time."""

import os
import threading

from flows.workspace import claim_workspace


def test_a_second_claim_waits_says_for_whom_and_goes_on(tmp_path):
    said: list[str] = []
    waits, is_in = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def second() -> None:
        with claim_workspace(tmp_path, say=say):
            is_in.set()

    thread = threading.Thread(target=second)
    with claim_workspace(tmp_path, say=said.append):
        thread.start()
        assert waits.wait(timeout=60)
        assert not is_in.is_set()
    thread.join(timeout=60)
    assert is_in.is_set()
    (line,) = said
    assert line.startswith(f"another flow is at work in {tmp_path} (process {os.getpid()}, since ")
    assert line.endswith("; waiting until it ends")


def test_a_free_workspace_says_nothing(tmp_path):
    said: list[str] = []
    for _ in range(2):
        with claim_workspace(tmp_path, say=said.append):
            pass
    assert said == []
