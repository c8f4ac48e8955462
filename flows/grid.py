"""A grid of experiments as a file describes it: which seeds run with which variants, in order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentic_vlm.errors import ParamsError
from agentic_vlm.params import read_yaml


class Round(BaseModel):
    """A part of the grid: every one of these seeds with every one of these variants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(min_length=1)
    """Values of the root field `seed`."""
    variants: tuple[str, ...] = Field(min_length=1)
    """Names of variants."""


class Variant(BaseModel):
    """What a variant changes, and whose answers it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overrides: tuple[str, ...] = ()
    """What it changes on params.yaml, as KEY=VALUE."""
    models: tuple[str, ...] = ()
    """Models that answer the suites; nothing else is run. Empty: every stage of the graph runs."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, given: Any) -> Any:
        return {"overrides": given} if isinstance(given, list) else given


class Grid(BaseModel):
    """What to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: tuple[Round, ...] = Field(min_length=1)
    """In the order in which they run."""
    variants: dict[str, Variant]
    """By name; a list stands for its overrides."""
    seconds: dict[str, tuple[float, float]] = {}
    """Seconds on the clock and of CPU time by name of a stage run, such as `evaluate-rl`; for the
    forecast alone."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        named = {name for part in self.rounds for name in part.variants}
        if unknown := sorted(named - set(self.variants)):
            raise ValueError(f"rounds name {', '.join(unknown)}, which variants does not have")
        return self

    def pairs(self) -> list[tuple[int, str]]:
        """Return seed and variant of each experiment, each once, in order."""
        return list(
            dict.fromkeys(
                (seed, name)
                for part in self.rounds
                for seed in part.seeds
                for name in part.variants
            )
        )


@dataclass(frozen=True, slots=True)
class Experiment:
    """One seed with one variant."""

    seed: int
    """Value of the root field `seed`."""
    variant: str
    """Name of the variant."""
    overrides: tuple[str, ...]
    """What the variant changes, as KEY=VALUE."""
    models: tuple[str, ...] = ()
    """Models whose answers it is about; empty for all that the graph has."""

    @property
    def name(self) -> str:
        """Name of the DVC experiment."""
        return f"seed-{self.seed}-{self.variant}"

    @property
    def targets(self) -> tuple[str, ...]:
        """Stages that are run with everything upstream of them; empty for all."""
        return tuple(f"evaluate@{model}" for model in self.models)


def read_grid(path: Path) -> Grid:
    """Read the grid.

    Raises:
        ParamsError: it has another form.
    """
    try:
        return Grid.model_validate(read_yaml(path))
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        where = f"{path.name}, {'.'.join(str(key) for key in first['loc'])}"
        fix = "a round lists seeds and names of variants; variants maps names to KEY=VALUE"
        raise ParamsError(where, first["msg"], fix) from fault


def plan_experiments(
    grid: Grid, *, seeds: Sequence[int] = (), variants: Sequence[str] = ()
) -> list[Experiment]:
    """Return the experiments in the order of the rounds.

    Args:
        grid: the whole grid.
        seeds: seeds to run, of the grid or not, each with every variant; empty for the rounds.
        variants: names of variants to run; empty for all.

    Raises:
        ParamsError: the grid has no such variant.
    """
    unknown = sorted(set(variants) - set(grid.variants))
    if unknown:
        fix = f"there are {', '.join(grid.variants)}"
        raise ParamsError(", ".join(unknown), "no such variant in the grid", fix)
    pairs = grid.pairs()
    if seeds:
        # Variants of a seed stay together, so that what they share runs once.
        names = dict.fromkeys(name for _, name in pairs)
        pairs = [(seed, name) for seed in dict.fromkeys(seeds) for name in names]
    return [
        Experiment(seed, name, grid.variants[name].overrides, grid.variants[name].models)
        for seed, name in pairs
        if not variants or name in variants
    ]


def first_of_seeds(experiments: Sequence[Experiment]) -> dict[int, Experiment]:
    """Return the first experiment of each seed: it runs what the others of the seed share."""
    firsts: dict[int, Experiment] = {}
    for one in experiments:
        firsts.setdefault(one.seed, one)
    return firsts


def choose_next(
    candidates: Sequence[Experiment],
    *,
    open_ones: Collection[Experiment],
    firsts: Mapping[int, Experiment],
) -> Experiment | None:
    """Return the candidate to begin; absent where all must wait for the first of their seed.

    Args:
        candidates: experiments that have not begun, in order.
        open_ones: all that have not ended, whether they have begun or not.
        firsts: the first experiment of each seed, among those of this run.
    """
    for one in candidates:
        first = firsts[one.seed]
        if one == first or first not in open_ones:
            return one
    return None
