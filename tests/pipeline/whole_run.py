"""Run every stage of a project in this process, and tell what the run wrote."""

import hashlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from agentic_vlm.schema import CuratedSample
from agentic_vlm.stage import Stage, StageReport
from agentic_vlm.store import read_records, write_records
from stages import STAGES

MODELS = ("base", "sft", "rl")
RUNS = [
    (name, model)
    for name in STAGES
    if name != "build_base"
    for model in (MODELS if name == "evaluate" else ("",))
]
"""Stages with the members of their matrix; the base model is given."""

RunStage = Callable[..., StageReport]

_NEVER_THE_SAME = {"trajectories.duckdb", "timings", "timings.json"}


class Run(NamedTuple):
    """One full run."""

    root: Path
    reports: dict[tuple[str, str], StageReport]


def run_one(name: str, root: Path, *, variant: str = "") -> StageReport:
    """Run one stage in this process, in a given project."""
    module = importlib.import_module(f"stages.{name}")
    report: StageReport = module.STAGE.execute(module.run, root=root, variant=variant)
    return report


def run_all(root: Path) -> Run:
    """Run all stages but the one that makes the base model."""
    reports = {}
    for name, model in RUNS:
        reports[name, model] = run_one(name, root, variant=model)
        if name == "allocate":
            fill_rl_pool(root)
    return Run(root, reports)


def fill_rl_pool(root: Path) -> None:
    """Let half of the cold-start pool play the part of what tools solve.

    An untrained model solves nothing, so `allocate` leaves the RL pool empty.
    """
    pools = root / "data" / "pools"
    samples = [
        sample
        for pool in ("sft", "rl")
        for sample in read_records(pools / pool / "records", CuratedSample)
    ]
    samples.sort(key=lambda sample: sample.sample_id)
    for pool, rows in (("rl", samples[::2]), ("sft", samples[1::2])):
        write_records(
            pools / pool / "records", rows, CuratedSample, key=lambda row: (row.sample_id,)
        )


def declaration(name: str) -> Stage:
    return importlib.import_module(f"stages.{name}").STAGE


def outputs_of(name: str) -> list[str]:
    """Return what all runs of a stage write."""
    stage = declaration(name)
    members = MODELS if stage.matrix else ("",)
    return [path for member in members for path in stage.outputs(member)]


def digests(root: Path, folders: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of every file that must not depend on clock or chance."""
    return {path.relative_to(root).as_posix(): digest_of(path) for path in _files(root, folders)}


def digests_of_all(root: Path) -> dict[str, str]:
    """Return the digest of every output and figure of every stage but the base model.

    Left out: the database, in which clock and host stand too, and the seconds.
    """
    outputs = [path for name, _ in RUNS for path in outputs_of(name)]
    places = [root / path for path in (*dict.fromkeys(outputs), "metrics")]
    files = {
        path
        for place in places
        for path in (place.rglob("*") if place.is_dir() else [place])
        if path.is_file() and _NEVER_THE_SAME.isdisjoint(path.relative_to(root).parts)
    }
    return {path.relative_to(root).as_posix(): digest_of(path) for path in sorted(files)}


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(root: Path, folders: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        place = root / folder
        yield from sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
