"""Sets of trajectories to look at or to run again, read from the folders that the stages wrote."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.evaluation.summary import column_of
from agentic_vlm.schema import CuratedSample, RawSample, Rollout, ScoredAnswer, Trajectory
from agentic_vlm.store import ImageStore, iter_records

SLICES = ("scores", "rollouts", "probes", "trajectories", "sft")
"""What can be looked at: answers to the suites, rollouts of RL, attempts of the base, the
teacher's trajectories, and those of them that are taught."""

Sample = RawSample | CuratedSample


class Entry(NamedTuple):
    """One trajectory with what is known about it."""

    model: str
    """Whose it is: base, base_direct, sft, rl, or teacher."""
    trajectory: Trajectory
    sample: Sample | None
    """Absent where no folder holds it."""
    rollout: Rollout | None
    """Tokens, log-probabilities and rewards; only rollouts have them."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A set of trajectories, their samples and their pictures."""

    name: str
    iter_entries: Callable[[], Iterator[Entry]]
    """Reads the rows anew at each call."""
    pictures: ImageStore


def open_slice(name: str, root: Path) -> Slice:
    """Return a slice of the project under `root`.

    Raises:
        ArtifactMissing: the stage that writes it has not been run.
        RecordError: there is no slice of this name.
    """
    if name not in SLICES:
        raise RecordError(f"slice {name!r}", "unknown", f"name one of {', '.join(SLICES)}")
    data = root / "data"
    samples = _read_samples(data)
    pictures = ImageStore.open(*_image_folders(data, name))
    return Slice(name, lambda: _READERS[name](data, samples), pictures)


def _read_samples(data: Path) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    folders = [data / "raw" / "records", *sorted(data.glob("suites/*/records"))]
    for folder in folders:
        if folder.exists():
            found.update({row.sample_id: row for row in iter_records(folder, RawSample)})
    if (data / "curated" / "records").exists():
        for row in iter_records(data / "curated" / "records", CuratedSample):
            found.setdefault(row.sample_id, row)
    return found


def _image_folders(data: Path, name: str) -> list[Path]:
    folders = [data / "raw" / "images", *sorted(data.glob("suites/*/images"))]
    own = sorted(data.glob("scores/*/images")) if name == "scores" else [_folder(data, name)]
    return [folder for folder in (*folders, *own) if folder.exists()]


def _folder(data: Path, name: str) -> Path:
    return data / ("trajectories" if name == "sft" else name) / "images"


def _iter_scores(data: Path, samples: dict[str, Sample]) -> Iterator[Entry]:
    folders = sorted(path.parent for path in data.glob("scores/*/scores"))
    if not folders:
        raise _missing(data / "scores", "evaluate")
    for folder in folders:
        columns = {
            row.trajectory_id: (column_of(row), row.verdict)
            for row in iter_records(folder / "scores", ScoredAnswer)
        }
        for row in iter_records(folder / "trajectories", Trajectory):
            if row.trajectory_id not in columns:
                continue
            model, verdict = columns[row.trajectory_id]
            graded = row.model_copy(update={"verdict": verdict})
            yield Entry(model, graded, samples.get(row.sample_id), None)


def _iter_rollouts(data: Path, samples: dict[str, Sample]) -> Iterator[Entry]:
    folder = data / "rollouts" / "records"
    if not folder.exists():
        raise _missing(folder, "train_rl")
    for row in iter_records(folder, Rollout):
        yield Entry("rl", row.trajectory, samples.get(row.trajectory.sample_id), row)


def _iter_trajectories(
    folder: Path, stage: str, model: str, samples: dict[str, Sample]
) -> Iterator[Entry]:
    if not folder.exists():
        raise _missing(folder, stage)
    for row in iter_records(folder, Trajectory):
        yield Entry(model, row, samples.get(row.sample_id), None)


_READERS: dict[str, Callable[[Path, dict[str, Sample]], Iterator[Entry]]] = {
    "scores": _iter_scores,
    "rollouts": _iter_rollouts,
    "probes": lambda data, samples: _iter_trajectories(
        data / "probes" / "trajectories", "probe", "base", samples
    ),
    "trajectories": lambda data, samples: _iter_trajectories(
        data / "trajectories" / "records", "synthesize", "teacher", samples
    ),
    "sft": lambda data, samples: _iter_trajectories(
        data / "sft" / "records", "select_sft", "teacher", samples
    ),
}


def _missing(folder: Path, stage: str) -> ArtifactMissing:
    return ArtifactMissing(str(folder), "no such folder", f"run: dvc repro {stage}")
