"""Runs with their own params at the same time, each in a worktree, recorded as experiments."""

import pytest


@pytest.mark.slow
def test_two_runs_at_once_become_two_experiments_and_leave_the_checkout_alone(committed_project):
    project = committed_project
    words = ("-m", "flows.reproduce", "--root", str(project.root))
    number = len(project.started)
    runs = [
        project.start(*words, "--apart", name, "--set", f"curate.ngram={ngram}")
        for name, ngram in (("ten", 10), ("eleven", 11))
    ]
    for one, run in enumerate(runs, number):
        assert run.wait() == 0, project.output_of(one).read_text()
    assert "ngram: 13" in (project.root / "params.yaml").read_text()
    assert set(project.dvc("exp", "list", "--name-only").split()) == {"ten", "eleven"}
    assert len(project.git("worktree", "list").splitlines()) == 1
    project.dvc("exp", "apply", "ten")
    assert "ngram: 10" in (project.root / "params.yaml").read_text()
    assert (project.root / "data" / "curated" / "steps.txt").read_text() == "three"
