"""The grid of experiments, on a DVC project of two stages."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentic_vlm.analysis.claims import CLAIMS
from agentic_vlm.errors import ArtifactMissing, ParamsError
from agentic_vlm.evaluation.summary import summarize
from agentic_vlm.schema import ScoredAnswer
from agentic_vlm.store import write_records
from flows.costs import Budget, read_budget
from flows.experiments import Bench, Experiment, plan_experiments, read_grid
from flows.findings import Clock, main, run_grid

ROOT = Path(__file__).parents[3]
GRID = ROOT / "flows" / "findings.yaml"
PIPELINE = """
stages:
  base:
    frozen: true
    cmd: "false"
    params: [seed]
    outs: [base.txt: {cache: false}]
  prepare:
    cmd: python prepare.py
    deps: [prepare.py]
    params: [seed]
    outs: [prepared.txt]
  report:
    cmd: python score.py
    deps: [score.py, prepared.txt, made, base.txt]
    params: [train_rl]
    outs: [data/scores]
    metrics: [metrics/summary.json: {cache: false}]
"""
PREPARE = "import pathlib; pathlib.Path('prepared.txt').write_text('ready')\n"
SCORE = """
import json, pathlib, shutil, sys
method = 'rejection' if 'method: rejection' in pathlib.Path('params.yaml').read_text() else 'grpo'
if not pathlib.Path('made', method).exists():
    sys.exit('no such method')
pathlib.Path('metrics').mkdir(exist_ok=True)
shutil.copytree(f'made/{method}/scores', 'data/scores', dirs_exist_ok=True)
shutil.copy(f'made/{method}/summary.json', 'metrics/summary.json')
run = {'run_id': f'report@{method}', 'started_at': '2026-01-01T00:00', 'wall_s': 2.5, 'steps': {}}
pathlib.Path('metrics/timings.json').write_text(json.dumps({'report': run}))
"""
PAGES = ("findings.md", "findings.json", "costs.md", "costs.json")
SMALL_GRID = """
rounds:
  - {seeds: [1], variants: [grpo, rejection]}
variants:
  grpo: []
  rejection: [train_rl.method=rejection]
"""


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)
    return done.stdout.decode()


def ends(pid: int) -> bool:
    """Wait up to five seconds until a process is gone, or a zombie that nobody has asked for."""
    for _ in range(250):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def committed(project, monkeypatch) -> Path:
    """Give a git repository with the params of this project and one commit."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "start")
    return project


@pytest.fixture
def grid_project(committed, make_score) -> Path:
    """Add a pipeline that copies scores made here: RL gets all right by GRPO, else half."""
    for method, num_right in (("grpo", 60), ("rejection", 30)):
        scores = [
            make_score(
                model=model, mode="agent", need="tool", sample_id=f"s{number:02d}",
                verdict="correct" if number < right else "incorrect",
            )
            for model, right in (("base", 0), ("sft", 20), ("rl", num_right))
            for number in range(60)
        ]  # fmt: skip
        folder = committed / "made" / method
        for model in ("base", "sft", "rl"):
            rows = [row for row in scores if row.model == model]
            place = folder / "scores" / model / "scores"
            write_records(place, rows, ScoredAnswer, key=lambda row: (row.sample_id,))
        summary = summarize(scores, num_bootstrap=50, seed=0)
        (folder / "summary.json").write_text(json.dumps(summary))
    (committed / "prepare.py").write_text(PREPARE)
    (committed / "score.py").write_text(SCORE)
    (committed / "base.txt").write_text("given")
    (committed / "grid.yaml").write_text(SMALL_GRID)
    (committed / ".gitignore").write_text(".scratch/\nmetrics/timings*\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=committed, check=True)
    (committed / "dvc.yaml").write_text(PIPELINE)
    git(committed, "add", "--all")
    git(committed, "commit", "--quiet", "--message", "pipeline")
    return committed


def test_the_most_telling_experiments_come_first():
    names = [one.name for one in plan_experiments(read_grid(GRID))]
    assert names[:6] == [
        "seed-0-grpo", "seed-0-rejection", "seed-0-no_cold_start", "seed-0-efficiency",
        "seed-1-grpo", "seed-2-grpo",
    ]  # fmt: skip
    assert len(set(names)) == len(names) == 28


def test_other_seeds_run_every_variant_one_seed_after_another():
    plan = plan_experiments(read_grid(GRID), seeds=(5, 6), variants=("grpo", "rejection"))
    assert [one.name for one in plan] == [
        "seed-5-grpo", "seed-5-rejection", "seed-6-grpo", "seed-6-rejection"
    ]  # fmt: skip


def test_every_claim_finds_both_arms_at_some_seed_and_every_variant_serves_a_claim():
    pairs = {(one.seed, one.variant) for one in plan_experiments(read_grid(GRID))}
    for claim in CLAIMS:
        assert any((seed, claim.first.variant) in pairs and (seed, claim.second.variant) in pairs
                   for seed in (0, 1, 2)), claim.key  # fmt: skip
    used = {arm.variant for claim in CLAIMS for arm in (claim.first, claim.second)}
    assert used == set(read_grid(GRID).variants)


def test_the_grid_can_be_cut_down():
    plan = plan_experiments(read_grid(GRID), seeds=(4,), variants=("rejection",))
    assert plan == [Experiment(4, "rejection", ("train_rl.method=rejection",))]


def test_an_unknown_variant_is_named():
    with pytest.raises(ParamsError) as caught:
        plan_experiments(read_grid(GRID), variants=("ppo",))
    assert str(caught.value) == (
        "ppo: no such variant in the grid\n  fix: there are " + ", ".join(read_grid(GRID).variants)
    )


def test_a_grid_of_another_form_is_named(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("rounds: [{seeds: [a], variants: [x]}]\nvariants: {x: []}\n")
    with pytest.raises(ParamsError, match=r"grid\.yaml, rounds\.0\.seeds\.0"):
        read_grid(grid)
    grid.write_text("rounds: [{seeds: [0], variants: [y]}]\nvariants: {x: []}\n")
    with pytest.raises(ParamsError, match="rounds name y, which variants does not have"):
        read_grid(grid)


def test_every_variant_of_the_grid_fits_the_params(committed):
    bench = Bench(committed)
    for experiment in plan_experiments(read_grid(GRID), seeds=(7,)):
        text = bench.render_params(experiment)
        assert "\nseed: 7\n" in text


def test_params_come_from_the_commit_and_not_from_the_folder(committed):
    path = committed / "params.yaml"
    path.write_text(path.read_text().replace("num_bootstrap: 2000", "num_bootstrap: 999"))
    bench = Bench(committed)
    assert "num_bootstrap: 2000" in bench.render_params(Experiment(0, "grpo", ()))
    assert bench.has_changes()


def test_a_wrong_override_ends_the_grid_before_anything_runs(committed, tmp_path, capsys):
    grid = tmp_path / "wrong.yaml"
    grid.write_text(
        "rounds: [{seeds: [0], variants: [typo]}]\nvariants: {typo: [train_rl.methd=grpo]}\n"
    )
    assert main(["--root", str(committed), "--grid", str(grid)]) == 1
    assert "method" in capsys.readouterr().err
    assert not (committed / ".scratch").exists()


def test_a_dry_run_lists_the_experiments_and_makes_nothing(committed, capsys):
    assert main(["--root", str(committed), "--seeds", "1", "--variants", "rejection", "--dry"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == ["seed-1-rejection", "would", "run", "train_rl.method=rejection"]
    assert not (committed / ".scratch").exists()


def test_the_time_left_is_unknown_before_anything_has_ended():
    assert Clock().left_s(num_firsts=1, num_others=2) is None
    assert Clock([90.0]).left_s(num_firsts=0, num_others=2) == 180.0


@pytest.mark.parametrize("text", ["0", "-1", "nan", "soon", ""])
def test_a_budget_is_a_positive_number(text, committed, capsys):
    assert main(["--root", str(committed), "--max-usd", text]) == 1
    assert f"--max-usd: '{text}' is no positive number" in capsys.readouterr().err


def test_budgets_come_from_options_or_the_environment(monkeypatch):
    monkeypatch.setenv("AGENTIC_FINDINGS_MAX_SECONDS", "60")
    monkeypatch.setenv("AGENTIC_FINDINGS_MAX_USD", "2")
    assert read_budget(max_seconds=None, max_usd="3") == Budget(60.0, 3.0)
    budget = read_budget(max_seconds="9", max_usd=None)
    budget.add(seconds=8.0, usd=1.5)
    assert budget.excess() == ""
    budget.add(seconds=0.0, usd=0.5)
    assert budget.excess() == "2 of 2 US dollars are spent"


@pytest.mark.slow
def test_a_grid_ends_with_its_budget_goes_on_and_runs_nothing_twice(grid_project, capsys):
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    before = (grid_project / "params.yaml").read_text()
    assert main([*arguments, "--max-seconds", "0.001"]) == 0
    first = capsys.readouterr().out
    # What has begun is brought to its end, and no more is begun.
    assert "[2/2] seed-1-rejection: left out, " in first
    assert "the budget ended it: " in first
    assert "1 experiments are left out, and the same command goes on with them" in first
    content = json.loads((grid_project / "findings" / "findings.json").read_text())
    assert content["missing"] == ["seed-1-rejection"]

    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count("recorded, skipped") == 1
    # The stage that both variants share runs once.
    assert (first + out).count(": prepare\n") == 1
    # A frozen stage stays as committed, whatever the seed.
    assert ": base\n" not in first + out
    assert (first + out).count(": report\n") == 2
    content = json.loads((grid_project / "findings" / "findings.json").read_text())
    by_key = {finding["key"]: finding for finding in content["findings"]}
    assert by_key["F4"]["outcome"] == "came out"
    assert by_key["F4"]["estimate"]["mean"] == 0.5
    assert by_key["F7"]["outcome"] == "undecided"
    assert "seed-1-rejection" in git(grid_project, "for-each-ref", "refs/exps")
    assert (grid_project / "params.yaml").read_text() == before
    costs = json.loads((grid_project / "findings" / "costs.json").read_text())
    assert [run["run"] for run in costs["experiments"]["seed-1-rejection"]] == ["report"]
    assert costs["findings"]["F4"]["wall_s"] == 5.0
    pages = [(grid_project / "findings" / name).read_bytes() for name in PAGES]

    assert main(arguments) == 0
    assert capsys.readouterr().out.count("recorded, skipped") == 2
    assert [(grid_project / "findings" / name).read_bytes() for name in PAGES] == pages


@pytest.mark.slow
def test_results_outlive_the_worktree_and_a_failure_stops_only_itself(grid_project, capsys):
    shutil.rmtree(grid_project / "made" / "rejection")
    git(grid_project, "commit", "--quiet", "--all", "--message", "no rejection")
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "no such method" in out
    shutil.rmtree(grid_project / ".scratch")
    bench = Bench(grid_project)
    lines: list[str] = []
    revisions = run_grid(
        bench, [Experiment(1, "grpo", ())], say=lines.append, on_result=lambda one, revision: None
    )
    assert lines == ["[1/1] seed-1-grpo: recorded, skipped"]
    with bench.results(revisions["seed-1-grpo"]) as folder:
        assert (folder / "data/scores/rl/scores/part-00000.parquet").exists()


@pytest.mark.slow
def test_a_commit_that_changes_no_code_records_anew_and_runs_no_stage(grid_project, capsys):
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    assert main([*arguments, "--variants", "grpo"]) == 0
    first = Bench(grid_project).find(Experiment(1, "grpo", ()))
    # The commit holds the very state of the experiment: lock file, params and summary.
    git(grid_project, "checkout", first, "--", ".")
    git(grid_project, "add", "--all")
    git(grid_project, "commit", "--quiet", "--message", "what came out")
    capsys.readouterr()
    assert main([*arguments, "--variants", "grpo"]) == 0
    assert "seed-1-grpo: prepare" not in capsys.readouterr().out
    second = Bench(grid_project).find(Experiment(1, "grpo", ()))
    assert second not in (None, first)


@pytest.mark.slow
def test_scores_that_the_cache_has_lost_are_named(grid_project):
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    assert main([*arguments, "--variants", "grpo"]) == 0
    shutil.rmtree(grid_project / ".dvc" / "cache")
    bench = Bench(grid_project)
    revision = bench.find(Experiment(1, "grpo", ()))
    with pytest.raises(ArtifactMissing, match=r"data/scores: not there"), bench.results(revision):
        pass


@pytest.mark.slow
def test_a_killed_grid_ends_its_stage_and_finds_its_scratch_work_again(grid_project):
    script = grid_project / "score.py"
    wait = (
        "import os, pathlib, time\n"
        "begun = pathlib.Path('.scratch/begun')\n"
        "if not begun.exists():\n"
        "    begun.parent.mkdir(exist_ok=True)\n"
        "    begun.with_name('draft').write_text(str(os.getpid()))\n"
        "    begun.with_name('draft').rename(begun)\n"
        "    time.sleep(600)\n"
    )
    script.write_text(wait + script.read_text())
    git(grid_project, "commit", "--quiet", "--all", "--message", "a long stage")
    begun = grid_project / ".scratch/findings/worktree/.scratch/begun"
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    command = [sys.executable, "-m", "flows.findings", *arguments, "--variants", "grpo"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as grid:
        while not begun.exists() and grid.poll() is None:
            time.sleep(0.1)
        grid.terminate()
    assert grid.returncode == 128 + signal.SIGTERM
    assert ends(int(begun.read_text()))
    assert main([*arguments, "--variants", "grpo"]) == 0
