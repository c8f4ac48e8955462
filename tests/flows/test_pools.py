"""Stages on other machines: here two checkouts with a worker each, and a folder as the remote."""

import signal
from collections.abc import Iterator

import pytest

POOLS = {"first": "cheap", "curate": "dear"}


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


@pytest.mark.live
def test_a_pool_runs_its_stages_and_they_end_with_its_worker(committed_project, workers):
    owner, far = committed_project, workers["curate"]
    assert owner.flow() == ["Completed", "Completed"]
    assert not (owner.root / "starts.txt").exists()
    assert far.starts() == [0]
    assert (owner.root / "data" / "curated" / "steps.txt").read_text() == "three"
    assert "Data and pipelines are up to date." in owner.dvc("repro")

    owner.change_params("ngram: 13", "ngram: 12")
    far.hold()
    flow = owner.start("-m", "flows.reproduce", "--root", str(owner.root))
    far.wait_for_stage()
    (worker,) = far.started
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    far.wait_until_empty()
    assert flow.wait() == 1
    assert owner.alive() == {}
