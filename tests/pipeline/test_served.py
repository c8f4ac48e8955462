"""Probe and synthesize with a real model server, which is killed under a request and comes back."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_vlm.schema import Probe, ProbeMode, Trajectory
from agentic_vlm.store import read_records
from flows.params import write_params

from .model_server import Gate, ModelServer, copy_base, open_gate
from .whole_run import digests, run_one

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


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Give the gate before a server of the base model of a project at `tmp_path`."""
    copy_base(tmp_path / "models" / "base")
    params = tmp_path / "params.yaml"
    shutil.copy(Path(__file__).parents[2] / "params.yaml", params)
    write_params(params, recipe="tiny", overrides=_OVERRIDES)
    server = ModelServer(tmp_path)
    try:
        with open_gate(server) as gate:
            for variable in ("AGENTIC_POLICY_URL", "AGENTIC_TEACHER_URL"):
                monkeypatch.setenv(variable, gate.url)
            # What stands in the environment of the machine must not lead elsewhere.
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            yield gate
    finally:
        server.kill()


@pytest.mark.slow
def test_a_model_server_that_is_killed_half_way_changes_no_byte(gate, tmp_path):
    card = json.loads((tmp_path / "models/base/card.json").read_text())
    num_asked = {}
    for name in ("ingest", "curate", "probe", "allocate", "synthesize"):
        before = gate.num_answers
        run_one(name, tmp_path)
        num_asked[name] = gate.num_answers - before
    probes = read_records(tmp_path / "data/probes/records", Probe)
    assert all(probe.verdict is not None for probe in probes if probe.is_needed)
    assert {probe.mode for probe in probes if probe.is_needed} == set(ProbeMode)
    attempts = read_records(tmp_path / "data/probes/trajectories", Trajectory)
    assert {row.policy for row in attempts} == {card["checkpoint_id"]}
    taught = read_records(tmp_path / "data/trajectories/records", Trajectory)
    assert {row.policy for row in taught} == {"models/base"}

    for name, folder in (("probe", "data/probes"), ("synthesize", "data/trajectories")):
        calm = digests(tmp_path, (folder,))
        shutil.rmtree(tmp_path / folder)
        gate.kill_after(num_asked[name] // 2)
        run_one(name, tmp_path)
        assert gate.num_kills == 1
        # What was answered before is not asked again.
        assert gate.num_answers == num_asked[name]
        assert digests(tmp_path, (folder,)) == calm
