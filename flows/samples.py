"""Some samples of a stage as Markdown: pictures, question, and what a policy did with them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agentic_vlm.analysis.examples import choose_examples
from agentic_vlm.errors import ImageError
from agentic_vlm.schema import (
    CuratedSample,
    ImageRef,
    RawSample,
    Rollout,
    Trajectory,
    Turn,
    Verdict,
)
from agentic_vlm.store import ImageStore, iter_records
from flows.pictures import thumbnail

_NUM_SAMPLES = 4
_NUM_ROWS = 400
"""Rows looked at; a large run has millions."""
_MAX_CHARS = 1200
_WIDTH = 78
"""Characters of a line that a page of the interface shows."""

# Folders that a stage writes and what their rows are.
_SAMPLES: Mapping[str, type[RawSample]] = {"data/raw": RawSample, "data/curated": CuratedSample}


def render_samples(outputs: Sequence[str], root: Path) -> str:
    """Return a page about the rows that a stage has written; empty where it writes no samples."""
    for place in outputs:
        folder = root / place
        if place in _SAMPLES and (folder / "records").exists():
            rows = itertools.islice(iter_records(folder / "records", _SAMPLES[place]), _NUM_ROWS)
            return "\n\n".join(_sections_of_samples(list(rows), _open_pictures(root)))
        trajectories = list(itertools.islice(_iter_trajectories(folder, place), _NUM_ROWS))
        if trajectories:
            return "\n\n".join(_sections_of_trajectories(trajectories, root))
    return ""


def _iter_trajectories(folder: Path, place: str) -> Iterator[Trajectory]:
    if place.startswith("data/scores/") and (folder / "trajectories").exists():
        yield from iter_records(folder / "trajectories", Trajectory)
    elif place == "data/trajectories":
        yield from iter_records(folder / "records", Trajectory)
    elif place == "data/rollouts":
        yield from (row.trajectory for row in iter_records(folder / "records", Rollout))


def _sections_of_samples(rows: Sequence[RawSample], store: ImageStore) -> Iterator[str]:
    families: dict[str, RawSample] = {}
    for row in rows:
        families.setdefault(row.family, row)
    for row in list(families.values())[:_NUM_SAMPLES]:
        yield f"### {_plain(row.family)}: {_plain(row.question)}"
        yield from _pictures(row.images, store)
        yield f"answer: {_code(row.answer)}"


def _sections_of_trajectories(rows: Sequence[Trajectory], root: Path) -> Iterator[str]:
    wanted = {row.sample_id for row in rows}
    samples = {row.sample_id: row for row in _iter_samples(root) if row.sample_id in wanted}
    store = _open_pictures(root)
    for row, sample in _choose(rows, samples):
        verdict = "ungraded" if row.verdict is None else row.verdict.value
        yield f"### {_plain(sample.family)}, {verdict}: {_plain(sample.question)}"
        yield from _pictures(row.images, store)
        for number, turn in enumerate(row.turns, 1):
            yield from _turn(number, turn, store)
        answer = "none" if row.answer is None else row.answer
        facts = f"answer: {answer} | reference: {sample.answer} | ended: {row.stop_reason.value}"
        yield _code(facts)


def _choose(
    rows: Sequence[Trajectory], samples: Mapping[str, RawSample]
) -> list[tuple[Trajectory, RawSample]]:
    """Return some trajectories: right and wrong ones, or one per family before they are graded."""
    right = [row for row in rows if row.verdict is Verdict.CORRECT]
    wrong = [row for row in rows if row.verdict is Verdict.INCORRECT]
    num_wrong = min(_NUM_SAMPLES // 2, len(wrong))
    shares = ((right, _NUM_SAMPLES - num_wrong), (wrong, num_wrong))
    chosen = [
        (one.trajectory, one.sample)
        for part, num_examples in shares
        for one in choose_examples(part, samples, model="", num_examples=num_examples)
    ]
    if chosen:
        return chosen
    families: dict[str, tuple[Trajectory, RawSample]] = {}
    for row in rows:
        if row.sample_id in samples:
            sample = samples[row.sample_id]
            families.setdefault(sample.family, (row, sample))
    return list(families.values())[:_NUM_SAMPLES]


def _turn(number: int, turn: Turn, store: ImageStore) -> Iterator[str]:
    yield f"turn {number}\n\n{_block(turn.prefill + turn.text)}"
    if turn.observation is not None:
        yield f"observation\n\n{_block(turn.observation.text)}"
        yield from _pictures(turn.observation.images, store)


def _iter_samples(root: Path) -> Iterator[RawSample]:
    places = [root / "data" / "raw", *sorted((root / "data" / "suites").glob("*"))]
    for place in places:
        if (place / "records").exists():
            yield from iter_records(place / "records", RawSample)


def _open_pictures(root: Path) -> ImageStore:
    data = root / "data"
    owners = ("raw", "suites/*", "trajectories", "rollouts", "scores/*")
    folders = (path for owner in owners for path in sorted(data.glob(f"{owner}/images")))
    return ImageStore.open(*folders)


def _pictures(refs: Iterable[ImageRef], store: ImageStore) -> Iterator[str]:
    for ref in refs:
        try:
            yield f"![{ref.width_px} x {ref.height_px} px]({thumbnail(store.get(ref))})"
        except ImageError:
            yield f"picture {ref.sha256[:12]}: not stored here"


def _plain(text: str) -> str:
    """Return a text that Markdown and HTML take as it is."""
    signs = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    escaped = "".join(signs.get(sign, sign) for sign in " ".join(text.split()))
    return "".join(f"\\{sign}" if sign in "\\`*_[]#|" else sign for sign in escaped)


def _block(text: str) -> str:
    """Return a text as an indented block, which nothing inside can end."""
    cut = text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]} ..."
    # The page shows one line as one line, and hides what goes over its edge.
    lines = [
        part
        for line in cut.splitlines()
        for part in [line[at : at + _WIDTH] for at in range(0, len(line), _WIDTH)] or [""]
    ]
    return "\n".join(f"    {line}" for line in lines or [""])


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
