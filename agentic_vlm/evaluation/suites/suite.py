"""Suite: the declaration of one benchmark, and how its answers become figures."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentic_vlm.evaluation.figures import Figure, Mark, grouped, ratio, share, shares_by
from agentic_vlm.evaluation.suites.item import SuiteItem, label_of
from agentic_vlm.grading import Grade
from agentic_vlm.schema import RawSample, ScoredAnswer, Trajectory

Table = Literal["real_world", "mathematics", "search", "realx", "other"]
Family = Literal["perception", "reasoning", "search", "integration", "text"]
ToolName = Literal["python", "search", "image_search"]

CODE: tuple[ToolName, ...] = ("python",)
"""Search is off for every benchmark but the search ones and RealX-Bench (authors, issue 30)."""
ALL_TOOLS: tuple[ToolName, ...] = ("python", "search", "image_search")


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A published file that others have scored too."""

    name: str
    """Its name."""
    md5: str
    """Digest of its bytes, hexadecimal."""
    note: str = ""
    """Which issue of the file it is, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One benchmark."""

    name: str
    """Name in params.yaml and in every table."""
    title: str
    """Name as papers print it."""
    table: Table
    """Which table of the report it belongs to."""
    family: Family
    """Family of its samples."""
    size: int | None
    """Published number of items; a run over fewer is marked partial. Absent where unknown."""
    iter_items: Callable[[Path], Iterator[SuiteItem]]
    """Reads every published form, one item at a time."""
    aggregate: Callable[[Sequence[ScoredAnswer]], list[Figure]]
    """Figures of a run; the first one is what papers print."""
    prompt: str
    """Where the prompt of an item comes from, in a sentence."""
    rule: str
    """The published scoring rule, in a sentence."""
    deviation: str = ""
    """How mode `strict` of `grading` differs from it; empty where it does not."""
    files: tuple[KnownFile, ...] = ()
    """Published files with known digests."""
    tools: tuple[ToolName, ...] = CODE
    """Tools on offer in agent mode."""
    column: str = ""
    """Column of the paper's table; empty where the paper has none."""
    read_answer: Callable[[str], str] | None = None
    """Takes the answer out of a form that the prompt asks for, such as JSON."""
    measure: Callable[[Trajectory, RawSample, Grade], Mapping[str, float]] | None = None
    """What an answer is worth beside its verdict, by name, such as its mean IoU; figures find it as
    a label."""
    headline_size: int | None = None
    """Items behind the first figure where that is a part of the suite; else absent."""

    @property
    def expected(self) -> int | None:
        """Items that the first figure needs to be comparable with the paper."""
        return self.headline_size or self.size


def micro(*labels: str) -> Callable[[Sequence[ScoredAnswer]], list[Figure]]:
    """Return the aggregation `share of right answers, overall and per value of each label`."""

    def aggregate(rows: Sequence[ScoredAnswer]) -> list[Figure]:
        figures = [share("overall", rows)]
        for label in labels:
            figures += shares_by(by_label(label), rows)
        return figures

    return aggregate


def by_label(label: str) -> Callable[[ScoredAnswer], str]:
    """Return the function that gives a label of an answered item."""
    return lambda row: label_of(row, label)


def all_right(name: str, rows: Sequence[ScoredAnswer], *, group: str, size: int) -> Figure:
    """Return the share of groups whose `size` answers are all right.

    Several attempts at a group count each on its own, and are drawn together for the interval. An
    attempt with an ungraded answer and none wrong is left out of the mean, as is one that is not
    complete.
    """

    def attempt(row: ScoredAnswer) -> tuple[str, str]:
        return label_of(row, group), label_of(row, "attempt")

    sizes = Counter(map(attempt, rows))

    def count(marks: Sequence[Mark]) -> tuple[float, float] | None:
        attempts: dict[tuple[str, str], list[bool]] = {}
        for mark in marks:
            attempts.setdefault(attempt(mark.score), []).append(mark.is_right)
        decided = [
            all(rights) for rights in attempts.values() if len(rights) == size or not all(rights)
        ]
        return (float(sum(decided)), float(len(decided))) if decided else None

    complete = [row for row in rows if sizes[attempt(row)] == size]
    return grouped(name, complete, group=by_label(group), count=count, statistic=ratio)
