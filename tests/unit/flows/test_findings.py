"""The grid of experiments, on a DVC project of two stages."""

import json
import os
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
from agentic_vlm.params import load_params
from agentic_vlm.schema import ScoredAnswer
from agentic_vlm.store import write_records
from flows.costs import Budget, read_budget
from flows.dag import load_nodes
from flows.experiments import Bench
from flows.findings import main, share_cores
from flows.forecast import total_s
from flows.grid import Experiment, plan_experiments, read_grid
from flows.grid_plan import Plan

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
# Where variants name their models.
MODEL_PIPELINE = """
stages:
  prepare:
    cmd: python prepare.py
    deps: [prepare.py]
    params: [seed]
    outs: [prepared.txt]
  train_rl:
    cmd: python train.py
    deps: [train.py, prepared.txt]
    params: [seed, train_rl]
    outs: [models/rl]
  evaluate:
    matrix:
      model: [base, rl]
    cmd: python score.py ${item.model}
    deps: [score.py, prepared.txt, "models/${item.model}"]
    params: [seed, evaluate]
    outs: ["data/scores/${item.model}"]
  base:
    frozen: true
    cmd: "false"
    params: [seed]
    outs: [models/base: {cache: false}]
  report:
    cmd: "false"
    deps: [data/scores/base, data/scores/rl]
    metrics: [metrics/summary.json: {cache: false}]
"""
# DVC that loses its entry the first time, or always.
BESIDE_ANOTHER = """
import os, pathlib, sys
from dvc.cli import main
words = [word for word in sys.argv[1:] if not word.startswith("-")]
tries = pathlib.Path(__file__).with_name("tries")
is_first = not tries.exists()
with tries.open("a") as file:
    file.write(words[0] + chr(10))
if is_first or (words[0] == "repro" and "ALWAYS" in os.environ):
    sys.exit("ERROR: [Errno 2] No such file or directory: '/p/.dvc/cache/runs/32/f0/.O7.tmp'")
sys.exit(main(sys.argv[1:]))
"""
# Each seed begins with `grpo`, and waits in it for that of the other seed.
TRAIN = """
import pathlib, sys, time
params = pathlib.Path('params.yaml').read_text()
method = 'rejection' if 'method: rejection' in params else 'grpo'
seed = next(line for line in params.splitlines() if line.startswith('seed:'))
common = pathlib.Path('.git').read_text().split('gitdir: ')[1].split('/.git/')[0]
begun = pathlib.Path(common, '.scratch')
(begun / f'{seed[-1]}-{method}').write_text('')
for _ in range(6000):
    if method == 'rejection' or len(list(begun.glob('*-grpo'))) == 2:
        break
    time.sleep(0.05)
else:
    sys.exit('the other seed has not begun')
pathlib.Path('models').mkdir(exist_ok=True)
pathlib.Path('models/rl').write_text(f'{method} {seed}')
"""
SCORE_MODEL = """
import pathlib, shutil, sys
model = sys.argv[1]
method = pathlib.Path('models', model).read_text().split()[0]
shutil.copytree(f'made/{method}/scores/{model}', f'data/scores/{model}', dirs_exist_ok=True)
"""
MODEL_GRID = """
rounds:
  - {seeds: [1, 2], variants: [grpo]}
  - {seeds: [1, 2], variants: [rejection]}
variants:
  grpo: {models: [base, rl]}
  rejection: {overrides: [train_rl.method=rejection], models: [rl]}
"""
VARIANT_PARAMS = {"grpo": [], "rejection": ["train_rl.method=rejection"]}
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


@pytest.fixture
def model_project(grid_project) -> Path:
    """Ask each model in a stage of its own; the first experiments of two seeds wait for another."""
    (grid_project / "dvc.yaml").write_text(MODEL_PIPELINE)
    (grid_project / "train.py").write_text(TRAIN)
    (grid_project / "score.py").write_text(SCORE_MODEL)
    (grid_project / "grid.yaml").write_text(MODEL_GRID)
    (grid_project / "metrics").mkdir()
    (grid_project / "metrics/summary.json").write_text("{}")
    (grid_project / "models").mkdir()
    (grid_project / "models/base").write_text("grpo")
    git(grid_project, "add", "--all")
    git(grid_project, "commit", "--quiet", "--message", "models")
    return grid_project


def test_the_most_telling_experiments_come_first():
    names = [one.name for one in plan_experiments(read_grid(GRID))]
    assert names[:6] == [
        "seed-0-grpo", "seed-0-rejection", "seed-0-online_rejection", "seed-0-no_cold_start",
        "seed-0-efficiency", "seed-1-grpo",
    ]  # fmt: skip
    assert len(set(names)) == len(names) == 31


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
    arms = {arm for claim in CLAIMS for arm in (claim.first, claim.second)}
    variants = read_grid(GRID).variants
    assert {arm.variant for arm in arms} == set(variants)
    # A model that no claim looks at is not asked, and none that one looks at is left out.
    for name, variant in variants.items():
        asked = {arm.column.removesuffix("_direct") for arm in arms if arm.variant == name}
        assert asked == set(variant.models), name


def test_sampled_answers_are_those_of_the_greedy_models_at_the_temperature_of_training():
    variants = read_grid(GRID).variants
    temperature = load_params(ROOT / "params.yaml").train_rl.temperature
    for sampled, greedy in (("sampled", "grpo"), ("rejection_sampled", "rejection")):
        assert variants[sampled].overrides == (
            *variants[greedy].overrides,
            f"evaluate.temperature={temperature}",
        )


def test_a_list_in_a_grid_stands_for_the_overrides_of_a_variant_that_runs_every_stage(tmp_path):
    (tmp_path / "grid.yaml").write_text(SMALL_GRID)
    (experiment,) = plan_experiments(read_grid(tmp_path / "grid.yaml"), variants=["rejection"])
    assert experiment == Experiment(1, "rejection", ("train_rl.method=rejection",))
    assert experiment.targets == ()


def test_experiments_at_once_share_the_cores_unless_the_environment_says_how(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("AGENTIC_THREADS", raising=False)
    share_cores(1)
    assert "AGENTIC_THREADS" not in os.environ
    share_cores(2)
    assert (os.environ.pop("AGENTIC_THREADS"), os.environ["OMP_NUM_THREADS"]) == ("2", "3")


def test_the_grid_can_be_cut_down():
    plan = plan_experiments(read_grid(GRID), seeds=(4,), variants=("rejection",))
    overrides = ("train_rl.method=rejection", "train_rl.num_steps=67")
    assert plan == [Experiment(4, "rejection", overrides, ("rl",))]
    assert plan[0].targets == ("evaluate@rl",)


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


def test_every_variant_fits_the_params_and_the_grid_is_foretold_to_take_under_two_hours(committed):
    bench, grid = Bench(committed), read_grid(GRID)
    experiments = plan_experiments(grid)
    plan = Plan.make(grid, experiments, bench, place=ROOT)
    for experiment in experiments:
        assert f"\nseed: {experiment.seed}\n" in bench.render_params(experiment)
    spans = {span.experiment.name: span for span in plan.lay_out(experiments, done=(), num_jobs=2)}
    assert total_s(list(spans.values())) < 2 * 3600
    # Neither index nor report, and nothing that `grpo` has run.
    assert spans["seed-0-rejection"].stages == ("train_rl", "evaluate@rl")
    assert spans["seed-0-sft_reasoning"].stages == ("select_sft", "train_sft", "evaluate@sft")
    for control in ("tool_free", "blank_crop", "noisy_search", "renamed_tools"):
        assert spans[f"seed-0-{control}"].stages == ("evaluate@rl",)
    # A cold start of one step is foretold to take a step, and two pilots share it.
    pilots = [spans[f"seed-0-{name}"].stages for name in ("no_cold_start", "tool_bonus")]
    assert pilots == [("train_sft", "train_rl", "evaluate@rl"), ("train_rl", "evaluate@rl")]
    assert {node.name: node for node in load_nodes(ROOT)}["build_base"].is_frozen


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


def test_a_dry_run_foretells_each_experiment_and_makes_nothing(grid_project, capsys):
    (grid_project / "metrics/timings").mkdir(parents=True)
    (grid_project / "metrics/timings/report.json").write_text('{"wall_s": 113.0, "cpu_s": 9}')
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    assert main([*arguments, "--dry"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    # 7 s for the experiment, 3.5 s for each stage, and what the report took here.
    assert lines == [
        "seed-1-grpo would run 2.1 min",
        "prepare report",
        "seed-1-rejection would run 2.1 min train_rl.method=rejection",
        "report",
        "about 4 min with 1 at once, 4 min one after another; 4 min if nothing were shared",
    ]
    assert not (grid_project / ".scratch").exists()


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
    assert "1 recorded, 1 to run" in out
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
    assert "2 recorded, 0 to run" in capsys.readouterr().out
    assert [(grid_project / "findings" / name).read_bytes() for name in PAGES] == pages


@pytest.mark.slow
def test_two_experiments_at_once_run_what_their_models_need_and_record_nothing_else(
    model_project, capsys
):
    arguments = ["--root", str(model_project), "--grid", str(model_project / "grid.yaml")]
    assert main([*arguments, "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    content = json.loads((model_project / "findings/findings.json").read_text())
    f4 = next(one for one in content["findings"] if one["key"] == "F4")
    assert (f4["outcome"], f4["num_seeds"]) == ("came out", 2)
    # Once for each seed; nobody asks for the report, and rejection not for the base.
    assert (out.count(": prepare\n"), out.count(": train_rl\n")) == (2, 4)
    assert (out.count(": evaluate@base\n"), out.count(": evaluate@rl\n")) == (2, 4)
    assert ": report\n" not in out
    bench = Bench(model_project)
    for variant, models in (("grpo", {"base", "rl"}), ("rejection", {"rl"})):
        revision = bench.find(Experiment(2, variant, tuple(VARIANT_PARAMS[variant])))
        lock = git(model_project, "show", f"{revision}:dvc.lock")
        assert {name for name in ("base", "rl") if f"evaluate@{name}:" in lock} == models
        summary = json.loads(git(model_project, "show", f"{revision}:metrics/summary.json"))
        assert set(summary["models"]) == models
    assert not [path for path in model_project.rglob(".scratch/experiment")]

    assert main([*arguments, "--jobs", "2"]) == 0
    assert "4 recorded, 0 to run" in capsys.readouterr().out


@pytest.mark.slow
def test_an_entry_of_the_run_cache_that_another_dvc_removed_is_written_again(
    grid_project, capsys, tmp_path, monkeypatch
):
    # Two that end equal stages at once do this to each other, too seldom to wait for it.
    wrapper = tmp_path / "dvc_beside_another.py"
    wrapper.write_text(BESIDE_ANOTHER)
    monkeypatch.setattr("flows.experiments._DVC", (sys.executable, str(wrapper)))
    arguments = ["--root", str(grid_project), "--grid", str(grid_project / "grid.yaml")]
    assert main([*arguments, "--variants", "grpo"]) == 0
    tries = (tmp_path / "tries").read_text().split()
    assert tries[:2] == ["repro", "repro"]
    (tmp_path / "tries").write_text("")
    monkeypatch.setenv("ALWAYS", "1")
    assert main([*arguments, "--seeds", "2", "--variants", "grpo"]) == 1
    assert (tmp_path / "tries").read_text().split() == ["repro"] * 3
    assert "No such file or directory" in capsys.readouterr().out


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
    assert main([*arguments, "--variants", "grpo"]) == 0
    assert not (grid_project / ".scratch").exists()
    with bench.results(bench.find(Experiment(1, "grpo", ()))) as folder:
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
