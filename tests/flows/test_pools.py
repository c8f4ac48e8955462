"""Stages on other machines: here two checkouts with a worker each, and a folder as the remote."""

import signal
from collections.abc import Iterator

import pytest

POOLS = {"first": "cheap", "curate": "dear"}

# Sends a stage to a pool, whose worker takes it and is never heard of again.
SILENCE = """
import threading, time
from pathlib import Path
from prefect import get_client
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.states import Running
from flows.dag import load_nodes
from flows.deployments import register_stage
from flows.pools import run_elsewhere

def take_the_run():
    with get_client(sync_client=True) as client:
        pool = WorkPoolFilter(name=WorkPoolFilterName(any_=["silent"]))
        while not (runs := client.read_flow_runs(work_pool_filter=pool)):
            time.sleep(0.1)
        client.send_worker_heartbeat("silent", "lost", heartbeat_interval_seconds=1)
        client.update_flow_run_labels(runs[0].id, {"prefect.worker.name": "lost"})
        client.set_flow_run_state(runs[0].id, Running(), force=True)
        while not client.read_flow_run(runs[0].id).state.is_final():
            time.sleep(0.1)
        print("the server shows", client.read_flow_run(runs[0].id).state.name)

register_stage("silent")
threading.Thread(target=take_the_run).start()
node = next(one for one in load_nodes(Path()) if one.pool)
run_elsewhere(node, Path(), is_forced=False, on_line=print)
"""


@pytest.fixture
def workers(committed_project, tmp_path_factory) -> Iterator[dict]:
    """Give the checkouts of two pools by stage, each with a worker that serves it."""
    owner = committed_project
    pipeline = owner.root / "dvc.yaml"
    text = pipeline.read_text().replace("meta: {slots: [cpu]}", "meta: {pool: dear}")
    pipeline.write_text(text.replace("  first:\n", "  first:\n    meta: {pool: cheap}\n"))
    remote = tmp_path_factory.mktemp("remote")
    owner.dvc("remote", "add", "--default", "far", str(remote))
    owner.git("commit", "--quiet", "--all", "--message", "pools")
    made = {}
    for stage, pool in POOLS.items():
        root = tmp_path_factory.mktemp(pool) / "checkout"
        owner.git("clone", "--quiet", str(owner.root), str(root))
        made[stage] = checkout = type(owner)(root, {**owner.environment})
        checkout.environment["AGENTIC_TEST_MARK"] = str(root)
        checkout.start("-m", "flows.worker", pool)
    for checkout in made.values():
        checkout.says(0, "started!")
    yield made
    for checkout in made.values():
        checkout.end_all()


@pytest.mark.slow
def test_a_pool_runs_its_stages_and_they_end_with_its_worker(committed_project, workers):
    owner, far = committed_project, workers["curate"]
    assert owner.flow() == ["Completed", "Completed"]
    assert not (owner.root / "starts.txt").exists()
    assert far.starts() == [0]
    assert (owner.root / "data" / "curated" / "steps.txt").read_text() == "three"
    assert "Data and pipelines are up to date." in owner.dvc("repro")

    owner.change_params("ngram: 13", "ngram: 12")
    far.hold()
    number = len(owner.started)
    flow = owner.start("-m", "flows.reproduce", "--root", str(owner.root))
    far.wait_for_stage()
    (worker,) = far.started
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    far.wait_until_empty()
    assert flow.wait() == 1
    # The run itself said so; nobody had to wait until its worker was taken for lost.
    said = owner.output_of(number).read_text()
    assert (
        "ended in the pool dear as Crashed: Execution was aborted by a termination signal" in said
    )
    assert owner.alive() == {}


@pytest.mark.slow
def test_a_stage_whose_worker_falls_silent_fails(committed_project):
    project = committed_project
    pipeline = project.root / "dvc.yaml"
    pipeline.write_text(
        pipeline.read_text().replace("  first:\n", "  first:\n    meta: {pool: silent}\n")
    )
    number = len(project.started)
    assert project.start("-c", SILENCE).wait() == 1
    said = project.output_of(number).read_text()
    assert (
        "StageFailed: first: taken for dead in the pool silent: nothing was heard from lost" in said
    )
    assert "the server shows Crashed" in said
