"""Seconds of tool calls, apart from the trajectories."""

import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.store import logging_latencies
from agentic_vlm.store.latencies import Latency, log_latencies, read_latencies

CALL = Latency(0, "python", 0.5)


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / ".scratch" / "probe"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "metrics" / "timings" / "calls" / "probe.jsonl"


def ids(log):
    return read_latencies(log)["trajectory_id"].to_pylist()


def test_calls_are_read_as_they_were_logged(scratch, log):
    with logging_latencies(scratch):
        log_latencies("t0", [CALL, Latency(1, "search", 0.25, 0.001)])
    assert read_latencies(log).to_pylist() == [
        {"run": "probe", "line": 0, "trajectory_id": "t0", "turn": 0, "tool": "python",
         "latency_s": 0.5, "cost_usd": 0.0},
        {"run": "probe", "line": 1, "trajectory_id": "t0", "turn": 1, "tool": "search",
         "latency_s": 0.25, "cost_usd": 0.001},
    ]  # fmt: skip


def test_a_log_without_prices_is_one_of_free_calls(scratch, log):
    with logging_latencies(scratch):
        log_latencies("t0", [CALL])
    log.write_text(log.read_text().replace(', "cost_usd": 0.0', ""))
    assert read_latencies(log)["cost_usd"].to_pylist() == [0.0]


def test_nothing_is_logged_outside_of_a_run_or_in_a_dry_one(scratch, log):
    log_latencies("t0", [CALL])
    with logging_latencies(scratch, is_dry=True):
        log_latencies("t0", [CALL])
    with logging_latencies(scratch):
        log_latencies("t0", [])
    assert not log.parent.exists()


def test_a_dry_run_leaves_the_log_of_a_real_one_alone(scratch, log):
    with logging_latencies(scratch):
        log_latencies("t0", [CALL])
    with logging_latencies(scratch, is_dry=True):
        log_latencies("t1", [CALL])
    assert ids(log) == ["t0"]


def test_a_fresh_run_forgets_and_a_resumed_one_goes_on(scratch, log):
    for name, left in (("t0", ["t0"]), ("t1", ["t1"])):
        with logging_latencies(scratch):
            log_latencies(name, [CALL])
        assert ids(log) == left
    scratch.mkdir(parents=True)
    with logging_latencies(scratch):
        log_latencies("t2", [CALL])
    assert ids(log) == ["t1", "t2"]


def test_a_line_that_a_crash_cut_short_is_forgotten(scratch, log):
    with logging_latencies(scratch):
        log_latencies("t0", [CALL])
    with log.open("ab") as stream:
        stream.write(b'{"trajectory_id": "t1", "tur')
    assert ids(log) == ["t0"]
    scratch.mkdir(parents=True)
    with logging_latencies(scratch):
        log_latencies("t2", [CALL])
    assert ids(log) == ["t0", "t2"]


@pytest.mark.parametrize("line", ["no json\n", '{"trajectory_id": 1, "turn": "x"}\n', "{}\n"])
def test_a_damaged_log_is_named(scratch, log, line):
    log.parent.mkdir(parents=True)
    log.write_text(line)
    with pytest.raises(RecordError, match=r"probe\.jsonl"):
        read_latencies(log)


def test_an_empty_log_has_no_calls(log):
    log.parent.mkdir(parents=True)
    log.write_bytes(b"")
    assert ids(log) == []
