"""The command line of the sandbox."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_vlm.sandbox.__main__ import find_fault, main

ROOT = Path(__file__).parents[3]


def test_check_names_the_tier_and_every_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tier ")
    assert "ok    read a file of the host\n" in printed
    assert "HOLE" not in printed


@pytest.mark.parametrize(
    ("changes", "token", "words"),
    [
        ({"host": "0.0.0.0"}, "", "AGENTIC_SANDBOX_TOKEN"),
        ({"host": "0.0.0.0", "released_contract": True}, "t", "127.0.0.1 only"),
        ({"share": ["/"]}, "", "not the system"),
        ({"share": ["/proc/self"]}, "", "not the system"),
        ({"share": ["/nowhere"]}, "", "no such folder"),
        ({"host": "0.0.0.0"}, "t", ""),
        ({}, "", ""),
    ],
)
def test_an_open_daemon_is_refused(changes: dict, token: str, words: str) -> None:
    defaults = {"host": "127.0.0.1", "share": [], "released_contract": False}
    fault = find_fault(argparse.Namespace(**{**defaults, **changes}), token=token)
    assert words in fault
    assert bool(words) == bool(fault)


@pytest.mark.slow
def test_serve_says_where_it_listens_and_ends_on_sigterm() -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "agentic_vlm.sandbox", "serve", "--port", "0", "--drain-s", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdout is not None
    line = daemon.stdout.readline()
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=60) == 0
    daemon.stdout.close()
    assert "on http://127.0.0.1:" in line
