"""`python -m flows.findings`: run the grid of experiments and say which claims came out."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agentic_vlm.errors import AgenticError
from flows.costs import MAX_SECONDS, MAX_USD, read_budget
from flows.experiments import Bench
from flows.grid import Experiment, plan_experiments, read_grid
from flows.grid_plan import Plan
from flows.grid_run import GridRunner
from flows.recorded import Recorded, write_page
from flows.settings import prepare_environment
from flows.workspace import claim_workspace

_GRID = Path(__file__).with_name("findings.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid, write the findings, and return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    prepare_environment()
    try:
        return _run(options)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(options: argparse.Namespace) -> int:
    root = options.root.resolve()
    if options.again:
        write_page(options.out or root / "findings")
        return 0
    grid = read_grid(options.grid)
    experiments = plan_experiments(grid, seeds=options.seeds, variants=options.variants)
    budget = read_budget(max_seconds=options.max_seconds, max_usd=options.max_usd)
    bench = Bench(root)
    # A wrong override shows before the first hour, not after it.
    for experiment in experiments:
        bench.render_params(experiment)
    if bench.has_changes():
        _say("note: the last commit is run; changes that are not committed are no part of it")
    recorded_ones = {one.name: revision for one in experiments if (revision := bench.find(one))}
    if options.dry:
        plan = Plan.make(grid, experiments, bench, place=root)
        for line in plan.tell(done=recorded_ones, num_jobs=options.jobs):
            _say(line)
        return 0
    out = options.out or root / "findings"
    recorded = Recorded(bench, experiments, out=out)
    for experiment in experiments:
        if revision := recorded_ones.get(experiment.name):
            recorded.add(experiment, revision)

    def on_result(experiment: Experiment, revision: str) -> None:
        # Whoever stops the grid finds a page of all that has ended.
        recorded.add(experiment, revision)
        recorded.write()

    num_open = len(experiments) - len(recorded_ones)
    _say(f"{len(recorded_ones)} recorded, {num_open} to run")
    if num_open and not options.report:
        with claim_workspace(bench.worktree.parent, say=_say):
            benches = [bench, *(bench.beside(number) for number in range(2, options.jobs + 1))]
            for one in benches:
                one.open()
            share_cores(options.jobs)
            plan = Plan.make(grid, experiments, bench, place=bench.worktree)
            runner = GridRunner(benches, plan, say=_say, on_result=on_result, budget=budget)
            recorded_ones = runner.run(experiments)
    for line in recorded.write():
        _say(line)
    _say(f"{out / 'findings.md'} has the figures; each run is a DVC experiment: dvc exp show")
    if budget.num_left_out:
        _say(
            f"the budget ended it: {budget.excess()}; {budget.num_left_out} experiments are left "
            "out, and the same command goes on with them"
        )
    return 0 if len(recorded_ones) + budget.num_left_out == len(experiments) else 1


def share_cores(num_jobs: int) -> None:
    """Give each of several experiments its part of the cores, unless the environment has said.

    More threads than cores wait for each other. How many there are is part of a result: sums of
    floating point depend on their order.
    """
    if num_jobs > 1:
        num_threads = max(1, len(os.sched_getaffinity(0)) // num_jobs)
        for name in ("AGENTIC_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, str(num_threads))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _stop(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that a running stage ends with this process."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.findings",
        description="Run every seed with every variant as a DVC experiment and say which claims "
        "came out. What is recorded is not run again, and what was killed resumes.",
        epilog="Example: python -m flows.findings --seeds 0 --variants grpo rejection --dry",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=(), help="default: its rounds")
    parser.add_argument("--variants", nargs="+", default=(), help="default: all of the grid")
    parser.add_argument("--dry", action="store_true", help="list what would run, how long, and end")
    parser.add_argument(
        "--jobs", type=_positive, default=1, metavar="N", help="experiments at once; default: 1"
    )
    parser.add_argument(
        "--report", action="store_true", help="run nothing; write the page of what is recorded"
    )
    parser.add_argument(
        "--again", action="store_true", help="run and look up nothing; write the page of its tables"
    )
    parser.add_argument(
        "--max-seconds", metavar="S", help=f"begin no experiment after that; or {MAX_SECONDS}"
    )
    parser.add_argument("--max-usd", metavar="USD", help=f"nor when that is spent; or {MAX_USD}")
    parser.add_argument("--grid", type=Path, default=_GRID, help="default: flows/findings.yaml")
    parser.add_argument("--out", type=Path, help="folder to write; default: findings")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
