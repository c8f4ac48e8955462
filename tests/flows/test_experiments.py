"""DVC's own experiments work beside the flow: one here, a grid in the queue, what moved and why."""

import csv
import json
from collections.abc import Iterator

import pytest
from dvc.repo import Repo

PIPELINE = """
stages:
  score:
    cmd: exec python score.py
    deps: [score.py]
    params: [curate.ngram]
    metrics: [metrics/score.json: {cache: false}]
"""
SCORE = """
import json, pathlib, yaml
ngram = yaml.safe_load(pathlib.Path("params.yaml").read_text())["curate"]["ngram"]
pathlib.Path("metrics").mkdir(exist_ok=True)
pathlib.Path("metrics/score.json").write_text(json.dumps({"accuracy": ngram / 100}))
"""


@pytest.fixture
def scored_project(steps_project) -> Iterator:
    """Give a git repository with one stage that turns a param into a score, run and committed."""
    root = steps_project.root
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "score.py").write_text(SCORE)
    (root / ".gitignore").write_text("/output-*\n/.scratch\n")
    steps_project.git("init", "--quiet")
    (root / ".dvc" / "config").unlink()
    Repo.init(str(root), force=True).close()
    steps_project.dvc("config", "hydra.enabled", "false")
    steps_project.dvc("repro")
    steps_project.git("add", "--all")
    steps_project.git("commit", "--quiet", "--message", "start")
    return steps_project


@pytest.mark.slow
def test_experiments_run_here_and_in_the_queue_and_dvc_says_what_moved(scored_project):
    project = scored_project
    project.dvc("exp", "run", "--name", "twelve", "-S", "curate.ngram=12")
    (params,) = json.loads(project.dvc("params", "diff", "--json"))["params.yaml"].items()
    assert params == ("curate.ngram", {"old": 13, "new": 12, "diff": -1})
    (metrics,) = json.loads(project.dvc("metrics", "diff", "--json"))["metrics/score.json"].items()
    assert metrics[0] == "accuracy"
    assert (metrics[1]["old"], metrics[1]["new"]) == (0.13, 0.12)

    project.dvc("exp", "run", "--queue", "-S", "curate.ngram=choice(10,11)")
    project.dvc("exp", "run", "--run-all", "--jobs", "2")
    project.wait_until_empty()
    rows = csv.reader(project.dvc("exp", "show", "--csv").splitlines())
    assert {"0.13", "0.12", "0.11", "0.1"} <= {cell for row in rows for cell in row}
    assert len(project.dvc("exp", "list", "--name-only").split()) == 3
