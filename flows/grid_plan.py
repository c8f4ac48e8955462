"""What a grid will do: the stages of each experiment, and a forecast of its time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ruamel.yaml import YAML

from flows.dag import load_nodes
from flows.experiments import Bench
from flows.forecast import Forecast, Seconds, Span, Work, lay_out, read_seconds, total_s
from flows.grid import Experiment, Grid


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid with the stage runs that its experiments need."""

    experiments: tuple[Experiment, ...]
    """All that were asked for, in order."""
    works: Mapping[str, Sequence[Work]]
    """Stage runs of each experiment by its name."""
    stages: Mapping[str, frozenset[str]]
    """Names of the stages of each, frozen ones too."""

    @classmethod
    def make(
        cls, grid: Grid, experiments: Sequence[Experiment], bench: Bench, *, place: Path
    ) -> Self:
        """Lay params and graph of every experiment side by side.

        Args:
            grid: knows what stages take where this project has not measured it.
            experiments: those that were asked for.
            bench: where they run.
            place: checkout whose dvc.yaml is the graph.

        Raises:
            ParamsError: DVC cannot read the graph, or it has no stage for a model.
            RecordError: a file of seconds is damaged.
        """
        params = {one.name: _parse(bench.render_params(one)) for one in experiments}
        is_whole = any(not one.targets for one in experiments)
        targets = () if is_whole else {name for one in experiments for name in one.targets}
        forecast = Forecast(
            load_nodes(place, targets=sorted(targets)),
            seconds={
                **{name: Seconds(*given) for name, given in grid.seconds.items()},
                **read_seconds(bench.root),
            },
            base=_parse(bench.baseline_params()),
        )
        return cls(
            tuple(experiments),
            {one.name: forecast.works(one, params[one.name]) for one in experiments},
            {one.name: forecast.stages(one) for one in experiments},
        )

    def lay_out(
        self, experiments: Sequence[Experiment], *, done: Collection[str], num_jobs: int
    ) -> list[Span]:
        """Return when each of some experiments would run; `done` names those that have ended."""
        return lay_out(experiments, self.works, num_jobs=num_jobs, done=done)

    def tell(self, *, done: Collection[str], num_jobs: int) -> Iterator[str]:
        """Yield a line per experiment, and how long all of them take.

        Args:
            done: names of experiments that are recorded.
            num_jobs: how many run at once.
        """
        waiting = [one for one in self.experiments if one.name not in done]
        spans = self.lay_out(waiting, done=done, num_jobs=num_jobs)
        found = {span.experiment.name: span for span in spans}
        for one in self.experiments:
            overrides = " ".join(one.overrides)
            if span := found.get(one.name):
                state = f"would run  {(span.end_s - span.start_s) / 60:5.1f} min"
                yield f"{one.name:24} {state}  {overrides}".rstrip()
                yield f"{'':24} {' '.join(span.stages) or 'nothing new'}"
            else:
                yield f"{one.name:24} recorded              {overrides}".rstrip()
        alone = lay_out(waiting, self.works, num_jobs=1, done=done, shares=False)
        shared = self.lay_out(waiting, done=done, num_jobs=1)
        yield (
            f"about {total_s(spans) / 60:.0f} min with {num_jobs} at once, "
            f"{total_s(shared) / 60:.0f} min one after another; "
            f"{total_s(alone) / 60:.0f} min if nothing were shared"
        )


def _parse(text: str) -> dict[str, object]:
    """Return the values of a params file that has been checked."""
    values: dict[str, object] = YAML(typ="safe", pure=True).load(text)
    return values
