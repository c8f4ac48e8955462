"""`python -m flows.findings`: run the grid of experiments and say which claims came out."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from agentic_vlm.errors import AgenticError
from flows.costs import MAX_SECONDS, MAX_USD, Budget, CostLog, read_budget
from flows.experiments import (
    Bench,
    Experiment,
    plan_experiments,
    read_grid,
)
from flows.recorded import Recorded, write_page
from flows.settings import prepare_environment
from flows.workspace import claim_workspace
from flows.worktree import ExperimentFailed

_GRID = Path(__file__).with_name("findings.yaml")


@dataclass(slots=True)
class Clock:
    """Guesses the time left from what has run."""

    firsts_s: list[float] = field(default_factory=list)
    """Seconds of experiments that were the first of their seed."""
    others_s: list[float] = field(default_factory=list)
    """Seconds of the rest: they find the work that a seed's variants share done."""

    def add(self, seconds: float, *, is_first: bool) -> None:
        """Note how long an experiment took."""
        (self.firsts_s if is_first else self.others_s).append(seconds)

    def left_s(self, *, num_firsts: int, num_others: int) -> float | None:
        """Return the seconds that so many experiments take; absent before the first has ended.

        Where one kind has not run yet, the other stands in for it.

        >>> Clock([100.0], [10.0, 20.0]).left_s(num_firsts=1, num_others=2)
        130.0
        """
        firsts, others = self.firsts_s or self.others_s, self.others_s or self.firsts_s
        if not firsts:
            return None
        mean_first, mean_other = sum(firsts) / len(firsts), sum(others) / len(others)
        return num_firsts * mean_first + num_others * mean_other


def run_grid(
    bench: Bench,
    experiments: Sequence[Experiment],
    *,
    say: Callable[[str], None],
    on_result: Callable[[Experiment, str], None],
    budget: Budget | None = None,
) -> dict[str, str]:
    """Run what is not recorded yet and return the revision of each experiment that has a result.

    A failed experiment is told and left out; the grid goes on. One that has begun is brought to its
    end, whatever it costs; when the budget is spent, those that are not recorded are left out.

    Args:
        bench: where the experiments run.
        experiments: what to run, in order.
        say: takes a line of progress.
        on_result: takes each experiment that ran, with its revision, as soon as it has ended.
        budget: what this call may cost; absent for no limit.
    """
    revisions: dict[str, str] = {}
    clock, budget = Clock(), budget or Budget()
    costs = CostLog(bench.root, bench.worktree, revision=bench.baseline)
    found = {experiment.name: bench.find(experiment) for experiment in experiments}
    firsts = {one.seed: one.name for one in reversed(experiments)}
    open_ones = [one for one in experiments if found[one.name] is None]
    if open_ones:
        bench.open()
    for number, experiment in enumerate(experiments, start=1):
        head = f"[{number}/{len(experiments)}] {experiment.name}"
        revision = found[experiment.name]
        if revision is not None:
            say(f"{head}: recorded, skipped")
            revisions[experiment.name] = revision
            continue
        if excess := budget.excess():
            budget.num_left_out += 1
            say(f"{head}: left out, {excess}")
            continue
        num_firsts = sum(firsts[one.seed] == one.name for one in open_ones)
        left_s = clock.left_s(num_firsts=num_firsts, num_others=len(open_ones) - num_firsts)
        say(f"{head}: {_minutes(left_s)}")
        start_s = time.monotonic()
        try:
            revisions[experiment.name] = bench.run(experiment, on_line=_stage_teller(head, say))
        except ExperimentFailed as error:
            say(str(error))
        took_s = time.monotonic() - start_s
        budget.add(seconds=took_s, usd=_book(costs, experiment, say))
        if experiment.name in revisions:
            clock.add(took_s, is_first=firsts[experiment.seed] == experiment.name)
            on_result(experiment, revisions[experiment.name])
        open_ones.remove(experiment)
        say(f"{head}: ended after {took_s:.0f} s")
    return revisions


def _book(costs: CostLog, experiment: Experiment, say: Callable[[str], None]) -> float:
    """Return the US dollars that an experiment cost; a bill that cannot be read stops no grid."""
    try:
        return costs.book(experiment.name).usd
    except AgenticError as error:
        say(f"{experiment.name}: what it cost is not known: {error}")
        return 0.0


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
    if options.dry:
        for experiment in experiments:
            state = "would run" if bench.find(experiment) is None else "recorded"
            _say(f"{experiment.name:24} {state:10} {' '.join(experiment.overrides)}".rstrip())
        return 0
    out = options.out or root / "findings"
    recorded = Recorded(bench, experiments, out=out)
    for experiment in experiments:
        if revision := bench.find(experiment):
            recorded.add(experiment, revision)

    def on_result(experiment: Experiment, revision: str) -> None:
        # Whoever stops the grid finds a page of all that has ended.
        recorded.add(experiment, revision)
        recorded.write()

    if options.report:
        revisions = {one.name: one.name for one in experiments if bench.find(one)}
    else:
        with claim_workspace(bench.worktree.parent, say=_say):
            revisions = run_grid(bench, experiments, say=_say, on_result=on_result, budget=budget)
    for line in recorded.write():
        _say(line)
    _say(f"{out / 'findings.md'} has the figures; each run is a DVC experiment: dvc exp show")
    if budget.num_left_out:
        _say(
            f"the budget ended it: {budget.excess()}; {budget.num_left_out} experiments are left "
            "out, and the same command goes on with them"
        )
    return 0 if len(revisions) + budget.num_left_out == len(experiments) else 1


def _stage_teller(head: str, say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what picks the names of stages that start out of the output of DVC."""

    def on_line(line: str) -> None:
        if line.startswith("Running stage "):
            stage = line.removeprefix("Running stage ").strip("':")
            say(f"{head}: {stage}")

    return on_line


def _minutes(seconds: float | None) -> str:
    return "time left: unknown" if seconds is None else f"about {seconds / 60:.0f} min left"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


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
    parser.add_argument("--dry", action="store_true", help="list what would run, and end")
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
