"""How long a grid takes: which stages each of its experiments still has to run, and their seconds.

A stage with equal params and equal stages before it gives equal results, so DVC runs it once. The
forecast follows that rule without looking into DVC's cache: what an earlier grid or `make
reproduce` has left there makes a grid shorter than foretold.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agentic_vlm.errors import RecordError
from flows.dag import Node
from flows.grid import Experiment, choose_next, first_of_seeds

STAGE_START_S = 3.5
"""Seconds that a stage costs beside its own: DVC, imports, hashes. Measured between the stages of
two experiments on two cores."""
EXPERIMENT_S = 7.0
"""Seconds to begin, record and read an experiment; measured likewise."""


class Seconds(NamedTuple):
    """What a stage took."""

    wall_s: float
    """On the clock, with all cores."""
    cpu_s: float
    """Of CPU time: what it takes at most on the clock with one thread, beside another one."""


@dataclass(frozen=True, slots=True)
class Work:
    """A stage run: equal keys are the same run."""

    key: str
    name: str
    seconds: Seconds


class Forecast:
    """Knows the graph and what its stages take."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        seconds: Mapping[str, Seconds],
        base: Mapping[str, Any],
    ) -> None:
        """Take what was measured.

        Args:
            nodes: the graph, upstream first.
            seconds: by name of the stage run, such as `evaluate-rl`; unknown ones take none.
            base: params with which they were measured.
        """
        self._nodes = tuple(nodes)
        self._seconds = seconds
        self._base = base

    def stages(self, experiment: Experiment) -> frozenset[str]:
        """Return the stages that an experiment needs, by name."""
        if not experiment.targets:
            return frozenset(node.name for node in self._nodes)
        wanted: set[str] = set(experiment.targets)
        for node in reversed(self._nodes):
            if node.name in wanted:
                wanted.update(node.upstream)
        return frozenset(wanted)

    def works(self, experiment: Experiment, params: Mapping[str, Any]) -> list[Work]:
        """Return the stage runs that an experiment needs, upstream first; frozen ones are done."""
        wanted = self.stages(experiment)
        keys: dict[str, str] = {}
        works = []
        for node in self._nodes:
            values = {} if node.is_frozen else {key: _look_up(params, key) for key in node.params}
            before = [keys[name] for name in node.upstream]
            text = json.dumps([node.name, values, before], sort_keys=True, default=str)
            keys[node.name] = hashlib.sha256(text.encode()).hexdigest()
            if node.name in wanted and not node.is_frozen:
                works.append(Work(keys[node.name], node.name, self._guess(node.name, params)))
        return works

    def _guess(self, name: str, params: Mapping[str, Any]) -> Seconds:
        measured = self._seconds.get(name.replace("@", "-"), Seconds(0.0, 0.0))
        usual = _amount(name, self._base)
        share = _amount(name, params) / usual if usual else 1.0
        return Seconds(*(STAGE_START_S + value * share for value in measured))


def _look_up(params: Mapping[str, Any], key: str) -> Any:
    value: Any = params
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _amount(name: str, params: Mapping[str, Any]) -> float:
    """Return what the seconds of a stage grow with: steps, or modes in which a model is asked."""
    stage, _, model = name.partition("@")
    if stage in ("train_sft", "train_rl"):
        return float(_look_up(params, f"{stage}.num_steps") or 0)
    if stage == "evaluate":
        return float(len(_look_up(params, f"evaluate.modes.{model}") or ()))
    return 1.0


@dataclass(frozen=True, slots=True)
class Span:
    """When an experiment of the forecast runs, seconds from the start."""

    experiment: Experiment
    start_s: float
    end_s: float
    stages: tuple[str, ...]
    """What it runs; what it shares with one that has ended is left out."""


def lay_out(
    experiments: Sequence[Experiment],
    works: Mapping[str, Sequence[Work]],
    *,
    num_jobs: int,
    done: Collection[str] = (),
    shares: bool = True,
) -> list[Span]:
    """Return when each experiment would run, in the order in which they begin.

    Args:
        experiments: what runs, in order.
        works: the stage runs of each, and of those before, by name of the experiment.
        num_jobs: how many run at once.
        done: names of experiments whose stages DVC has.
        shares: whether equal stages run once; else each experiment runs all of its own.
    """
    known = {work.key for name in done for work in works[name]}
    waiting, firsts = list(experiments), first_of_seeds(experiments)
    running: list[Span] = []
    spans: list[Span] = []
    now_s = 0.0
    while waiting or running:
        while len(running) < num_jobs:
            open_ones = [*waiting, *(span.experiment for span in running)]
            one = choose_next(waiting, open_ones=open_ones, firsts=firsts)
            if one is None:
                break
            waiting.remove(one)
            fresh = [work for work in works[one.name] if not shares or work.key not in known]
            took_s = EXPERIMENT_S + sum(
                max(work.seconds) if num_jobs > 1 else work.seconds.wall_s for work in fresh
            )
            running.append(Span(one, now_s, now_s + took_s, tuple(work.name for work in fresh)))
            spans.append(running[-1])
        ended = min(running, key=lambda span: span.end_s)
        running.remove(ended)
        now_s = ended.end_s
        known.update(work.key for work in works[ended.experiment.name])
    return spans


def total_s(spans: Sequence[Span]) -> float:
    """Return when the last one ends.

    >>> total_s([])
    0.0
    """
    return max((span.end_s for span in spans), default=0.0)


def read_seconds(root: Path) -> dict[str, Seconds]:
    """Return what the stages of a checkout took when they ran last, by name of the run.

    Raises:
        RecordError: a file of seconds is damaged.
    """
    found = {}
    for path in sorted((root / "metrics" / "timings").glob("*.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = Seconds(float(facts["wall_s"]), float(facts["cpu_s"]))
        except (ValueError, KeyError, TypeError) as fault:
            fix = "delete it; the next run of the stage writes it again"
            raise RecordError(str(path), f"not what a stage writes: {fault}", fix) from fault
    return found
