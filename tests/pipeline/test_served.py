"""Probe and synthesize with a real model server, which is killed and started again half-way."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentic_vlm.schema import Probe, ProbeMode, Trajectory
from agentic_vlm.store import read_records
from flows.params import write_params

from .model_server import ModelServer, copy_base

_FEW = "{perception: 1, reasoning: 1, search: 1, integration: 1, text: 2}"
_WORLD = (
    f"{{type: world, name: world, seed: 0, num_train: {_FEW}, tool_share: 0.6, suite: pocket, "
    f"num_eval_tool: {_FEW}, num_eval_direct: {_FEW}, num_entities: 40, num_articles: 80}}"
)
_OVERRIDES = (
    f"ingest.sources=[{_WORLD}]",
    "model.policy=openai",
    # The server draws the chance of all requests from one generator: one at a time, seeds count.
    "agent.max_concurrent=1",
    "agent.max_turn_tokens=48",
    "agent.max_infrastructure_retries=0",
    # A machine that is busy with something else must not end a cell.
    "agent.tool_deadline_s=900.0",
    "sandbox.cell_wall_s=600.0",
    "synthesize.teacher={type: openai, model: models/base, temperature: 1.0}",
)
RunStage = Callable[..., object]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """Give a server of the base model of a project at `tmp_path`."""
    copy_base(tmp_path / "models" / "base")
    params = tmp_path / "params.yaml"
    shutil.copy(Path(__file__).parents[2] / "params.yaml", params)
    write_params(params, recipe="tiny", overrides=_OVERRIDES)
    server = ModelServer(tmp_path)
    monkeypatch.setenv("AGENTIC_POLICY_URL", server.url)
    monkeypatch.setenv("AGENTIC_TEACHER_URL", server.url)
    yield server
    server.kill()


def run_disturbed(
    run_stage: RunStage, name: str, root: Path, server: ModelServer, *, kill_after: int
) -> None:
    """Run a stage and kill the server once that many attempts are finished."""
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_stage, name, root)
        while len(list(root.glob(f".scratch/{name}/*/trajectories/part-*"))) < kill_after:
            assert not running.done(), f"{name} ended before the server could be killed"
            time.sleep(0.01)
        server.restart()
        running.result()


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_model_server_that_is_killed_half_way_changes_no_byte(served, tmp_path, run_stage):
    card = json.loads((tmp_path / "models/base/card.json").read_text())
    for name in ("ingest", "curate", "probe", "allocate", "synthesize"):
        run_stage(name, tmp_path)
    probes = read_records(tmp_path / "data/probes/records", Probe)
    assert all(probe.verdict is not None for probe in probes if probe.is_needed)
    assert {probe.mode for probe in probes if probe.is_needed} == set(ProbeMode)
    attempts = read_records(tmp_path / "data/probes/trajectories", Trajectory)
    assert {row.policy for row in attempts} == {card["checkpoint_id"]}
    taught = read_records(tmp_path / "data/trajectories/records", Trajectory)
    assert {row.policy for row in taught} == {"models/base"}

    for name, folder in (("probe", "data/probes"), ("synthesize", "data/trajectories")):
        calm = digests(tmp_path / folder)
        shutil.rmtree(tmp_path / folder)
        run_disturbed(run_stage, name, tmp_path, served, kill_after=3)
        assert digests(tmp_path / folder) == calm
