"""DVC experiments of a grid: one per seed and variant, run in a git worktree.

The worktree holds the last commit and shares the cache, so that stages which experiments have in
common run once and a killed training resumes where it stopped. `dvc exp save` records each result;
what is recorded for this commit with these params is not run again. Experiments that run at once
have a worktree each.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dvc.api
import tenacity
from ruamel.yaml import YAML

from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.evaluation.summary import summarize
from agentic_vlm.params import load_params
from agentic_vlm.runlog import write_json
from agentic_vlm.schema import ScoredAnswer
from agentic_vlm.store import iter_records
from flows.grid import Experiment
from flows.params import apply_overlays, parse_override
from flows.proc import run_child
from flows.workspace import claim_records
from flows.worktree import ExperimentFailed, ask, open_worktree

_WORKTREE = ".scratch/findings/worktree"
_SUMMARY = "metrics/summary.json"
_SCORES = "data/scores"
_ROLLOUTS = ("data/rollouts/records", "data/curated/records")
"""Rollouts, and the samples that they are about."""
_TRAINED = "rl"
"""Model that the rollouts belong to."""
_BEGUN = ".scratch/experiment"
"""File in a worktree with the name of the experiment that it is at."""
_NUM_LAST_LINES = 20
_DVC = (sys.executable, "-m", "dvc")
_LOST_ENTRY = re.compile(r"No such file or directory: '[^']*/runs/[^']*\.tmp'")
"""What DVC says whose half-written entry of the run cache another DVC took for a broken one and
removed (dvc 3.67, `StageCache._load`): two worktrees ended equal stages at once."""
_MAX_TRIES = 3


class LostEntry(ExperimentFailed):
    """Another DVC removed what this one was about to record; running again mends it."""


class Bench:
    """Where the experiments of one commit run, and where their results are found again."""

    def __init__(self, root: Path, *, baseline: str = "", number: int = 1) -> None:
        """Take the last commit of a project.

        Args:
            root: root of the project, a git and DVC repository.
            baseline: commit to run in its place.
            number: number of the worktree, from 1.
        """
        self.root = root
        self.baseline = baseline or self._git("rev-parse", "HEAD")
        self._rendered: dict[Experiment, str] = {}
        self.worktree = root / (_WORKTREE if number == 1 else f"{_WORKTREE}-{number}")

    def beside(self, number: int) -> "Bench":
        """Return a bench for the same commit with the worktree of that number."""
        return Bench(self.root, baseline=self.baseline, number=number)

    def begun(self) -> str:
        """Return the name of the experiment that the worktree holds half-done; empty for none."""
        path = self.worktree / _BEGUN
        return path.read_text(encoding="utf-8") if path.exists() else ""

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
        if experiment not in self._rendered:
            with tempfile.TemporaryDirectory(prefix="findings-") as folder:
                base = Path(folder) / "params.yaml"
                base.write_text(self.baseline_params() + "\n", encoding="utf-8")
                self._rendered[experiment] = apply_overlays(base, overlays)
        return self._rendered[experiment]

    def baseline_params(self) -> str:
        """Return the params.yaml of the commit."""
        return self._show(self.baseline)

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

    def run(
        self,
        experiment: Experiment,
        *,
        on_line: Callable[[str], None],
        stages: Collection[str] = (),
    ) -> str:
        """Run an experiment, record it, and return its revision.

        Args:
            experiment: what to run.
            on_line: takes each line that DVC and the stages write.
            stages: what its models need, by name; used where it names models. Results of other
                stages are not recorded with it: they would be those of another experiment.

        Raises:
            ExperimentFailed: a stage failed; its last lines are in the message.
        """
        text = self.render_params(experiment)
        (self.worktree / "params.yaml").write_text(text, encoding="utf-8")
        begun = self.worktree / _BEGUN
        begun.parent.mkdir(exist_ok=True)
        begun.write_text(experiment.name, encoding="utf-8")
        self._dvc(["repro", *experiment.targets], experiment, on_line)
        message = f"findings: {experiment.name} {' '.join(experiment.overrides)}".strip()
        save = ["exp", "save", "--force", "--name", experiment.name, "--message", message]
        # DVC leaves out a metrics file without cache that no commit holds yet.
        save += ["--include-untracked", _SUMMARY]
        if experiment.models:
            self._write_summary(experiment)
            self._forget_others(stages)
            save += ["--", *experiment.targets]
        with claim_records(self.root, say=on_line):
            self._dvc(save, experiment, lambda line: None)
        revision = self.find(experiment)
        if revision is None:
            fix = "`dvc exp list` shows what is recorded; run again"
            raise ExperimentFailed(experiment.name, "DVC ran it but recorded nothing", fix)
        begun.unlink()
        return revision

    def _write_summary(self, experiment: Experiment) -> None:
        """Write the scores for `dvc exp show`, as stage report does for a whole run."""
        rows = [
            row
            for model in experiment.models
            for row in iter_records(self.worktree / _SCORES / model / "scores", ScoredAnswer)
        ]
        num_bootstrap = load_params(self.worktree / "params.yaml").evaluate.num_bootstrap
        summary = summarize(rows, num_bootstrap=num_bootstrap, seed=experiment.seed)
        write_json(self.worktree / _SUMMARY, summary)

    def _forget_others(self, stages: Collection[str]) -> None:
        """Drop from the lock file what the stages that were not run have made before."""
        yaml, path = YAML(), self.worktree / "dvc.lock"
        lock = yaml.load(path)
        for name in [name for name in lock["stages"] if name not in stages]:
            del lock["stages"][name]
        yaml.dump(lock, path)

    @contextmanager
    def results(self, revision: str, *, models: Sequence[str] = ()) -> Iterator[Path]:
        """Give a folder with the scores of a recorded experiment, its rollouts and their samples.

        Rollouts are missing where there was no RL.

        Args:
            revision: what recorded it.
            models: models that it is about; empty for all.

        Raises:
            ArtifactMissing: the cache has lost them.
        """
        files = dvc.api.DVCFileSystem(str(self.root), rev=revision)
        places = [f"{_SCORES}/{model}" for model in models] or [_SCORES]
        if not models or _TRAINED in models:
            places += _ROLLOUTS
        with tempfile.TemporaryDirectory(prefix="findings-") as name:
            folder = Path(name)
            for place in places:
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                if place in _ROLLOUTS and not files.exists(place):
                    continue
                try:
                    files.get(place, str(folder / place), recursive=True)
                except FileNotFoundError as fault:
                    fix = "`dvc exp remove` the experiment that has lost it, and run again"
                    raise ArtifactMissing(f"{revision[:12]}:{place}", "not there", fix) from fault
            yield folder

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(LostEntry),
        stop=tenacity.stop_after_attempt(_MAX_TRIES),
        reraise=True,
    )
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
            fix = f"the lines above say why; the work lies in {self.worktree}; a new run resumes it"
            is_lost = any(_LOST_ENTRY.search(line) for line in last)
            raise (LostEntry if is_lost else ExperimentFailed)(experiment.name, what, fix)

    def _show(self, revision: str) -> str:
        return self._git("show", f"{revision}:params.yaml")

    def _git(self, *words: str) -> str:
        return ask(["git", *words], cwd=self.root)
