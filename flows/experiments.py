"""A grid of DVC experiments: one per seed and variant, run in a git worktree of its own.

The worktree holds the last commit and shares the cache, so that stages which experiments have in
common run once and a killed training resumes where it stopped. `dvc exp save` records each result;
what is recorded for this commit with these params is not run again.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dvc.api
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentic_vlm.errors import ArtifactMissing, ParamsError
from agentic_vlm.params import read_yaml
from flows.params import apply_overlays, parse_override
from flows.proc import run_child
from flows.worktree import ExperimentFailed, ask, open_worktree

_WORKTREE = ".scratch/findings/worktree"
_SUMMARY = "metrics/summary.json"
_ROLLOUTS = "data/rollouts/records"
_NUM_LAST_LINES = 20
_DVC = (sys.executable, "-m", "dvc")


class Round(BaseModel):
    """A part of the grid: every one of these seeds with every one of these variants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(min_length=1)
    """Values of the root field `seed`."""
    variants: tuple[str, ...] = Field(min_length=1)
    """Names of variants."""


class Grid(BaseModel):
    """What to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: tuple[Round, ...] = Field(min_length=1)
    """In the order in which they run."""
    variants: dict[str, tuple[str, ...]]
    """Overrides on params.yaml by name of the variant."""

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

    @property
    def name(self) -> str:
        """Name of the DVC experiment."""
        return f"seed-{self.seed}-{self.variant}"


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
        Experiment(seed, name, grid.variants[name])
        for seed, name in pairs
        if not variants or name in variants
    ]


class Bench:
    """Where the experiments of one commit run, and where their results are found again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.baseline = self._git("rev-parse", "HEAD")
        self.worktree = root / _WORKTREE

    def has_changes(self) -> bool:
        """Tell whether tracked files differ from the commit; experiments do not see these edits."""
        return bool(self._git("status", "--porcelain", "--untracked-files=no"))

    def render_params(self, experiment: Experiment) -> str:
        """Return the params.yaml of an experiment: that of the commit with the overrides.

        Raises:
            ParamsError: the result has faults; all of them are listed.
        """
        overlays: list[dict[str, object]] = [{"seed": experiment.seed}]
        overlays += [parse_override(text) for text in experiment.overrides]
        with tempfile.TemporaryDirectory(prefix="findings-") as folder:
            base = Path(folder) / "params.yaml"
            base.write_text(self._show(self.baseline) + "\n", encoding="utf-8")
            return apply_overlays(base, overlays)

    def find(self, experiment: Experiment) -> str | None:
        """Return the revision that recorded the experiment for this commit and these params."""
        ref = f"refs/exps/{self.baseline[:2]}/{self.baseline[2:]}/{experiment.name}"
        # for-each-ref, unlike rev-parse, does not fail where there is none.
        revision = self._git("for-each-ref", "--format=%(objectname)", ref)
        if not revision:
            return None
        is_same = self._show(revision).strip() == self.render_params(experiment).strip()
        return revision if is_same else None

    def open(self) -> None:
        """Bring the worktree to the commit; scratch work of an earlier run stays.

        Raises:
            ExperimentFailed: git or DVC refused.
        """
        open_worktree(self.root, self.worktree, revision=self.baseline)

    def run(self, experiment: Experiment, *, on_line: Callable[[str], None]) -> str:
        """Run an experiment, record it, and return its revision.

        Raises:
            ExperimentFailed: a stage failed; its last lines are in the message.
        """
        text = self.render_params(experiment)
        (self.worktree / "params.yaml").write_text(text, encoding="utf-8")
        self._dvc(["repro"], experiment, on_line)
        message = f"findings: {experiment.name} {' '.join(experiment.overrides)}".strip()
        save = ["exp", "save", "--force", "--name", experiment.name, "--message", message]
        # DVC leaves out a metrics file without cache that no commit holds yet.
        save += ["--include-untracked", _SUMMARY]
        self._dvc(save, experiment, lambda line: None)
        revision = self.find(experiment)
        if revision is None:
            fix = "`dvc exp list` shows what is recorded; run again"
            raise ExperimentFailed(experiment.name, "DVC ran it but recorded nothing", fix)
        return revision

    @contextmanager
    def results(self, revision: str) -> Iterator[Path]:
        """Give a folder with the scores, the summary and the rollouts of a recorded experiment.

        Rollouts are missing where there was no RL.

        Raises:
            ArtifactMissing: the cache has lost them.
        """
        files = dvc.api.DVCFileSystem(str(self.root), rev=revision)
        with tempfile.TemporaryDirectory(prefix="findings-") as name:
            folder = Path(name)
            for place in (_SUMMARY, "data/scores", _ROLLOUTS):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                if place == _ROLLOUTS and not files.exists(place):
                    continue
                try:
                    files.get(place, str(folder / place), recursive=True)
                except FileNotFoundError as fault:
                    fix = "`dvc exp remove` the experiment that has lost it, and run again"
                    raise ArtifactMissing(f"{revision[:12]}:{place}", "not there", fix) from fault
            yield folder

    def _dvc(
        self, words: Sequence[str], experiment: Experiment, on_line: Callable[[str], None]
    ) -> None:
        last: list[str] = []

        def keep(line: str) -> None:
            last.append(line)
            del last[:-_NUM_LAST_LINES]
            on_line(line)

        command = [*_DVC, "--wait-for-lock", *words]
        if run_child(command, cwd=self.worktree, on_line=keep):
            what = f"dvc {words[0]} failed\n" + "\n".join(last)
            fix = f"the lines above say why; the work lies in {_WORKTREE}, and a new run resumes it"
            raise ExperimentFailed(experiment.name, what, fix)

    def _show(self, revision: str) -> str:
        return self._git("show", f"{revision}:params.yaml")

    def _git(self, *words: str) -> str:
        return ask(["git", *words], cwd=self.root)
