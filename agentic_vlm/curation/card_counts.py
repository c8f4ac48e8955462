"""What the data card counts, read row by row from the folders that exist."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from agentic_vlm.curation.allocation import TOOL_OPTIONAL
from agentic_vlm.curation.rules import Tally, tally_probes
from agentic_vlm.schema import (
    CuratedSample,
    Probe,
    ProbeMode,
    RawSample,
    Record,
    Rejection,
    RejectReason,
    Trajectory,
)
from agentic_vlm.store import iter_records

R = TypeVar("R", bound=Record)

_PLACES = ("raw", "curated", "pools", "sft")


class PoolGroup(NamedTuple):
    """Samples of one pool that come from one source and family."""

    pool: str
    source: str
    family: str


@dataclass(slots=True)
class Counts:
    """Everything that is counted."""

    raw: Counter[str] = field(default_factory=Counter)
    """Training rows by source."""
    curated: Counter[str] = field(default_factory=Counter)
    """Curated samples by source."""
    examples: dict[tuple[str, str], CuratedSample] = field(default_factory=dict)
    """The first curated sample of each source and family."""
    families: dict[str, str] = field(default_factory=dict)
    """Family and need by sample id, for the probe."""
    pools: dict[PoolGroup, list[str]] = field(default_factory=dict)
    """Sample ids of each group."""
    optional: Counter[PoolGroup] = field(default_factory=Counter)
    """Samples that the base solves both with tools and without, by group."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Attempts of the probe: `made` and `not_needed`."""
    tallies: dict[tuple[str, ProbeMode], Tally] = field(default_factory=dict)
    """Outcomes of the probe."""
    num_trajectories: int | None = None
    """Teacher trajectories; absent where there are none yet."""
    num_kept: int | None = None
    """Those that the cold start learns from."""
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows that were left out, by stage and reason."""
    evidence: dict[tuple[str, str], str] = field(default_factory=dict)
    """The evidence of the first of them."""
    matches: list[Rejection] = field(default_factory=list)
    """The first rows that a suite holds too."""


def count_all(data: Path, *, max_matches: int) -> Counts:
    """Return the counts of a project.

    Raises:
        ArtifactMissing: data/raw or data/curated has not been written.
    """
    counts = Counts()
    for row in iter_records(data / "raw/records", RawSample):
        counts.raw[row.source] += 1
    for sample in iter_records(data / "curated/records", CuratedSample):
        counts.curated[sample.source] += 1
        counts.examples.setdefault((sample.source, sample.family), sample)
        need = sample.need.value if sample.need is not None else "any"
        counts.families[sample.sample_id] = f"{sample.family}/{need}"
    for pool in ("sft", "rl"):
        for sample in _rows(data / "pools" / pool / "records", CuratedSample):
            group = PoolGroup(pool, sample.source, sample.family)
            counts.pools.setdefault(group, []).append(sample.sample_id)
            counts.optional[group] += TOOL_OPTIONAL in sample.flags
    counts.tallies = tally_probes(_count_attempts(data, counts))
    counts.num_trajectories = _num_rows(data / "trajectories/records", Trajectory)
    counts.num_kept = _num_rows(data / "sft/records", Trajectory)
    _count_rejections(data, counts, max_matches)
    return counts


def tallies_of(counts: Counts, ids: Sequence[str], mode: ProbeMode) -> list[Tally]:
    """Return the outcomes of those of the samples that were tried in a mode."""
    tallies: Mapping[tuple[str, ProbeMode], Tally] = counts.tallies
    return [tallies[one, mode] for one in ids if (one, mode) in tallies]


def _count_attempts(data: Path, counts: Counts) -> Iterator[Probe]:
    for probe in _rows(data / "probes/records", Probe):
        counts.attempts["made" if probe.is_needed else "not_needed"] += 1
        yield probe


def _count_rejections(data: Path, counts: Counts, max_matches: int) -> None:
    for place in _PLACES:
        for row in _rows(data / place / "rejections", Rejection):
            key = (row.stage, row.reason.value)
            counts.rejected[key] += 1
            counts.evidence.setdefault(key, row.evidence)
            is_match = row.reason is RejectReason.CONTAMINATED
            if is_match and len(counts.matches) < max_matches:
                counts.matches.append(row)


def _num_rows(folder: Path, record_type: type[R]) -> int | None:
    return sum(1 for _ in iter_records(folder, record_type)) if folder.exists() else None


def _rows(folder: Path, record_type: type[R]) -> Iterator[R]:
    if folder.exists():
        yield from iter_records(folder, record_type)
