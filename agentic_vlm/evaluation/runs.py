"""The folder of one run over one benchmark: what was asked, every answer, the scores.

`run.json` says what the run is; `answers.jsonl` gets one line per finished episode, at once, so
that a killed run goes on with the next item; `samples`, `scores`, `images` and `figures.json` are
written at the end. JSON Lines rather than a spreadsheet: cells are cut, read as formulas and lost
there.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from agentic_vlm.errors import ArtifactMissing, ParamsError, RecordError
from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.schema import RawSample, ScoredAnswer, StopReason, Trajectory
from agentic_vlm.store import read_records, write_records

_CARD, _ANSWERS, _FIGURES = "run.json", "answers.jsonl", "figures.json"
_OUTAGES = "outages.jsonl"
_SECONDS = "seconds.jsonl"
_FIX = "give another --out, or the settings that this run began with"


class RunCard(BaseModel):
    """What a run is; a folder takes up no other one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    """Name of the benchmark."""
    file: str
    """Name of the file that was asked, without its folder."""
    model: str
    """Who answers: id of the checkpoint, or the name at a server."""
    modes: tuple[str, ...]
    """direct, think, agent, or several of them."""
    num_attempts: int
    """Answers per item and mode."""
    temperature: float
    seed: int
    tools: tuple[str, ...]
    """Tools on offer in agent mode."""
    prompt: str
    """Which prompt files the loop puts around the question."""
    max_turns: int
    limit: int | None = None
    """Items asked at most; absent for all."""


class Seconds(NamedTuple):
    """Means per episode; absent where nothing was asked."""

    wall: float | None
    """Wall-clock seconds; episodes run side by side, so this is no latency."""
    tools: float | None
    """Seconds of its tool calls, added up."""


class Journal:
    """Finished episodes, one line each, safe as soon as they are added."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a line that a crash cut short is removed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._cut_torn_line()
        self._file: TextIO = path.open("a", encoding="utf-8")

    def add(self, trajectory: Trajectory) -> None:
        """Write one episode; those that an outage of ours ended are asked again in the next run."""
        if trajectory.stop_reason is StopReason.INFRASTRUCTURE:
            return
        self._file.write(trajectory.model_dump_json() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _cut_torn_line(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb+") as file:
            content_end = 0
            for line in file:
                if line.endswith(b"\n"):
                    content_end += len(line)
            file.truncate(content_end)


def open_run(folder: Path, card: RunCard) -> Journal:
    """Begin a run, or go on with it.

    Raises:
        ParamsError: the folder holds another run.
    """
    path = folder / _CARD
    if path.exists():
        begun = read_card(folder)
        if begun != card:
            given = card.model_dump()
            other = [name for name, value in begun.model_dump().items() if given[name] != value]
            raise ParamsError(str(folder), f"holds a run with other {', '.join(other)}", _FIX)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Journal(folder / _ANSWERS)


def read_card(folder: Path) -> RunCard:
    """Return what a run is.

    Raises:
        ArtifactMissing: the folder holds no run.
        RecordError: its card has another form.
    """
    path = folder / _CARD
    if not path.exists():
        fix = "give a folder that `python -m agentic_vlm.evaluation run` wrote"
        raise ArtifactMissing(str(path), "no run here", fix)
    try:
        return RunCard.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        raise RecordError(str(path), first["msg"], _FIX) from fault


def iter_answers(folder: Path) -> Iterator[Trajectory]:
    """Yield the finished episodes of a run, without those that an outage of ours ended."""
    yield from _iter_lines(folder / _ANSWERS)


def iter_outages(folder: Path) -> Iterator[Trajectory]:
    """Yield the episodes that an outage ended when the run was last at work."""
    yield from _iter_lines(folder / _OUTAGES)


def write_outages(folder: Path, rows: Sequence[Trajectory]) -> None:
    """Write the episodes that an outage ended; the next run asks them again."""
    text = "".join(row.model_dump_json() + "\n" for row in rows)
    (folder / _OUTAGES).write_text(text, encoding="utf-8")


def add_seconds(folder: Path, *, num_episodes: int, wall_s: float, tools_s: float) -> None:
    """Note how long a batch of episodes took: apart from the answers, which have no clock."""
    line = {"num_episodes": num_episodes, "wall_s": wall_s, "tools_s": tools_s}
    with (folder / _SECONDS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_seconds(folder: Path) -> Seconds:
    """Return the seconds per episode of a run, over all machines that worked on it."""
    path = folder / _SECONDS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    n = sum(row["num_episodes"] for row in rows)
    if not n:
        return Seconds(None, None)
    walls, tools = (sum(row[name] for row in rows) / n for name in ("wall_s", "tools_s"))
    return Seconds(walls, tools)


def _iter_lines(path: Path) -> Iterator[Trajectory]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Trajectory.model_validate_json(line)
            except ValidationError as fault:
                where = f"{path}, row {number}"
                raise RecordError(where, "no trajectory", "remove the line") from fault


def write_scores(
    folder: Path,
    *,
    samples: Sequence[RawSample],
    scores: Sequence[ScoredAnswer],
    figures: Sequence[Figure],
) -> None:
    """Write what follows from the answers."""
    write_records(
        folder / "samples", samples, RawSample, key=lambda row: (row.sample_id, row.source_row_id)
    )
    write_records(
        folder / "scores", scores, ScoredAnswer, key=lambda row: (row.mode, row.trajectory_id)
    )
    content = [figure._asdict() for figure in figures]
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    (folder / _FIGURES).write_text(text, encoding="utf-8")


def read_samples(folder: Path) -> list[RawSample]:
    """Return the items that a run asked."""
    return read_records(folder / "samples", RawSample)


def read_scores(folder: Path) -> list[ScoredAnswer]:
    """Return the scores of a finished run."""
    return read_records(folder / "scores", ScoredAnswer)
