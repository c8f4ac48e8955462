"""Runs the experiments of a grid, one or several at a time, and tells how far it is."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import KW_ONLY, dataclass, field

from agentic_vlm.errors import AgenticError
from flows.costs import Budget, CostLog
from flows.experiments import Bench
from flows.forecast import total_s
from flows.grid import Experiment, choose_next, first_of_seeds
from flows.grid_plan import Plan
from flows.proc import ending_children
from flows.worktree import ExperimentFailed


@dataclass(slots=True)
class Pace:
    """Corrects a forecast by what has run.

    >>> pace = Pace()
    >>> pace.add(foretold_s=100.0, took_s=150.0)
    >>> pace.correct(60.0)
    90.0
    """

    _foretold_s: float = 0.0
    _took_s: float = 0.0

    def add(self, *, foretold_s: float, took_s: float) -> None:
        """Note an experiment that has ended."""
        self._foretold_s += foretold_s
        self._took_s += took_s

    def correct(self, foretold_s: float) -> float:
        """Return the seconds that what is foretold will take, going by what has ended."""
        return foretold_s * self._took_s / self._foretold_s if self._foretold_s else foretold_s


@dataclass(slots=True)
class _Turn:
    """An experiment on its way."""

    experiment: Experiment
    bench: Bench
    head: str
    start_s: float
    foretold_s: float


@dataclass(slots=True)
class GridRunner:
    """Gives each free worktree the next experiment and collects what has ended."""

    benches: Sequence[Bench]
    """One per experiment that may run at once, each with its worktree open."""
    plan: Plan
    """Knows what is left to do."""
    _: KW_ONLY
    say: Callable[[str], None]
    """Takes a line of progress."""
    on_result: Callable[[Experiment, str], None]
    """Takes each experiment that ran, with its revision, as soon as it has ended."""
    budget: Budget
    """What this call may cost. What has begun is brought to its end, whatever it costs."""
    revisions: dict[str, str] = field(default_factory=dict)
    """Of each experiment that has a result, by name."""
    _waiting: list[Experiment] = field(default_factory=list)
    _running: dict[Future[str], _Turn] = field(default_factory=dict)
    _pace: Pace = field(default_factory=Pace)

    def run(self, experiments: Sequence[Experiment]) -> dict[str, str]:
        """Run what is not recorded yet and return the revision of each that has a result.

        A failed experiment is told and left out; the grid goes on.
        """
        heads = {
            one.name: f"[{number}/{len(experiments)}] {one.name}"
            for number, one in enumerate(experiments, start=1)
        }
        for one in experiments:
            if revision := self.benches[0].find(one):
                self.revisions[one.name] = revision
            else:
                self._waiting.append(one)
        benches = self.benches[: len(self._waiting)]
        # Whatever stops this ends the stages first, so that the pool has nothing to wait for.
        with ThreadPoolExecutor(max(1, len(benches))) as pool, ending_children():
            firsts = first_of_seeds(self._waiting)
            while self._waiting or self._running:
                mark_s = time.monotonic()
                self._begin(benches, pool, firsts=firsts, heads=heads)
                ended = wait(self._running, return_when=FIRST_COMPLETED).done
                for future in ended:
                    self._end(future, self._running.pop(future))
                self.budget.add(seconds=time.monotonic() - mark_s, usd=0.0)
        return self.revisions

    def _begin(
        self,
        benches: Sequence[Bench],
        pool: ThreadPoolExecutor,
        *,
        firsts: dict[int, Experiment],
        heads: Mapping[str, str],
    ) -> None:
        """Give every free worktree an experiment, as far as budget and order allow."""
        for bench in benches:
            if any(turn.bench is bench for turn in self._running.values()):
                continue
            if excess := self.budget.excess():
                for one in self._waiting:
                    self.say(f"{heads[one.name]}: left out, {excess}")
                self.budget.num_left_out += len(self._waiting)
                self._waiting.clear()
                return
            experiment = self._choose(bench, firsts)
            if experiment is not None:
                self._start(experiment, bench, pool, heads[experiment.name])

    def _choose(self, bench: Bench, firsts: dict[int, Experiment]) -> Experiment | None:
        """Return what a worktree was at when it was stopped, or else the next one."""
        open_ones = [*self._waiting, *(turn.experiment for turn in self._running.values())]
        begun = {other.begun() for other in self.benches if other is not bench}
        own = [one for one in self._waiting if one.name == bench.begun()]
        # What another worktree holds half-done is left to it, unless nothing else is left.
        free = [one for one in self._waiting if one.name not in begun]
        for choice in (own, free, self._waiting):
            if chosen := choose_next(choice, open_ones=open_ones, firsts=firsts):
                return chosen
        return None

    def _start(
        self, experiment: Experiment, bench: Bench, pool: ThreadPoolExecutor, head: str
    ) -> None:
        left = [*(turn.experiment for turn in self._running.values()), *self._waiting]
        spans = self.plan.lay_out(left, done=self.revisions, num_jobs=len(self.benches))
        left_s = self._pace.correct(total_s(spans))
        self.say(f"{head}: about {left_s / 60:.0f} min left")
        span = next(span for span in spans if span.experiment == experiment)
        self._waiting.remove(experiment)
        future = pool.submit(
            bench.run,
            experiment,
            on_line=_stage_teller(head, self.say),
            stages=self.plan.stages[experiment.name],
        )
        turn = _Turn(experiment, bench, head, time.monotonic(), span.end_s - span.start_s)
        self._running[future] = turn

    def _end(self, future: Future[str], turn: _Turn) -> None:
        """Book and tell an experiment that has ended, with a result or without."""
        name, took_s = turn.experiment.name, time.monotonic() - turn.start_s
        try:
            self.revisions[name] = future.result()
        except ExperimentFailed as error:
            self.say(str(error))
        self.budget.add(seconds=0.0, usd=self._book(turn))
        if name in self.revisions:
            self._pace.add(foretold_s=turn.foretold_s, took_s=took_s)
            self.on_result(turn.experiment, self.revisions[name])
        self.say(f"{turn.head}: ended after {took_s:.0f} s")

    def _book(self, turn: _Turn) -> float:
        """Return the US dollars of an experiment; a bill that cannot be read stops no grid."""
        bench, name = turn.bench, turn.experiment.name
        costs = CostLog(bench.root, bench.worktree, revision=bench.baseline)
        try:
            return costs.book(name).usd
        except AgenticError as error:
            self.say(f"{name}: what it cost is not known: {error}")
            return 0.0


def _stage_teller(head: str, say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what picks the names of stages that start out of the output of DVC."""

    def on_line(line: str) -> None:
        if line.startswith("Running stage "):
            stage = line.removeprefix("Running stage ").strip("':")
            say(f"{head}: {stage}")

    return on_line
