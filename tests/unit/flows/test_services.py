"""Servers around a flow: real ones, of the standard library."""

import os
import sys
from pathlib import Path

import pytest
import requests

from agentic_vlm.errors import InfrastructureError
from flows.services import Services

SERVER = f"{sys.executable} -m http.server --bind 127.0.0.1 {{port}}"
JUDGED = {"grading": {"judge": "openai"}, "model": {"policy": "in_process"}}


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "COMMAND"):
        monkeypatch.delenv(f"AGENTIC_JUDGE_{name}", raising=False)


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_server_is_started_once_with_the_first_stage_and_stopped_with_the_flow(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("AGENTIC_JUDGE_COMMAND", SERVER)
    said: list[str] = []
    with Services.of(JUDGED, root=tmp_path) as services:
        assert "AGENTIC_JUDGE_URL" not in os.environ
        services.ensure(say=said.append)
        services.ensure(say=said.append)
        address = os.environ["AGENTIC_JUDGE_URL"]
        assert address.endswith("/v1")
        assert requests.get(address.removesuffix("/v1"), timeout=30).ok
        pid = int(said[0].split("process ")[1].split(",")[0])
        assert is_running(pid)
    assert not is_running(pid)
    assert "AGENTIC_JUDGE_URL" not in os.environ
    assert said == [
        f"judge: started as process {pid}, waiting for {address}",
        f"judge: answers at {address}",
    ]


def test_what_the_params_do_not_ask_for_is_not_started(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENTIC_JUDGE_COMMAND", "false")
    with Services.of({"grading": {"judge": "none"}}, root=tmp_path) as services:
        services.ensure(say=pytest.fail)


def test_a_server_without_address_and_command_is_named(tmp_path):
    with Services.of(JUDGED, root=tmp_path) as services, pytest.raises(InfrastructureError) as one:
        services.ensure(say=pytest.fail)
    assert str(one.value) == (
        "judge: grading.judge is openai, but there is no such server\n"
        "  fix: export AGENTIC_JUDGE_URL=http://HOST:PORT/v1, or "
        "AGENTIC_JUDGE_COMMAND='... --port {port}' to have it started"
    )


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path, monkeypatch):
    code = "import sys; sys.exit('no such model')"
    monkeypatch.setenv("AGENTIC_JUDGE_COMMAND", f'{sys.executable} -c "{code}"')
    with Services.of(JUDGED, root=tmp_path) as services, pytest.raises(InfrastructureError) as one:
        services.ensure(say=lambda line: None)
    assert "ended with status 1 before it answered\nno such model" in str(one.value)


def test_a_server_elsewhere_that_does_not_answer_is_told(tmp_path, monkeypatch):
    # Port 9 of this machine: nobody listens there.
    monkeypatch.setenv("AGENTIC_JUDGE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("AGENTIC_SERVICE_PATIENCE_S", "0")
    with Services.of(JUDGED, root=tmp_path) as services, pytest.raises(InfrastructureError) as one:
        services.ensure(say=pytest.fail)
    assert "http://127.0.0.1:9/v1/models did not answer within 0 s (ConnectionError)" in str(
        one.value
    )
    assert os.environ["AGENTIC_JUDGE_URL"] == "http://127.0.0.1:9/v1"
