"""Runs stored trajectories again, and then altered ones: is every alteration found?

`python benchmarks/replay.py trajectories scores rollouts probes --limit 1000 --root .`: so many in
equal shares of the slices, first every trajectory as it is stored; then, for each kind of
alteration, every one that was equal and has a place for it, altered in one place drawn by its id.
Every line is one JSON object, one for each slice and then, of several, one for all: outcomes of the
untouched ones by model, what differed, and how many alterations of each kind were made and found.

Code or a query that is altered in text and action alike is a different trajectory, not a damaged
one: what is compared is what it gives, so that such an alteration is found where it changes that.
"""

import argparse
import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agentic_vlm.agent.runtime import open_kit
from agentic_vlm.params import load_params
from agentic_vlm.replay.compare import Outcome
from agentic_vlm.replay.run import Replayed, replay_all
from agentic_vlm.schema import ImageRef, ToolCall, Trajectory, Turn, Verdict
from agentic_vlm.slices import SLICES, Entry, open_slice
from agentic_vlm.store import ImageStore

Alter = Callable[[Trajectory, random.Random], Trajectory | None]
_SHOWN = 5


class _Damaged(ImageStore):
    """A store in which some files were changed behind its back."""

    def __init__(self, intact: ImageStore, damaged: frozenset[str]) -> None:
        super().__init__(intact._places)
        self._damaged = damaged

    def get_bytes(self, picture: ImageRef | str) -> bytes:
        encoded = super().get_bytes(picture)
        sha256 = picture if isinstance(picture, str) else picture.sha256
        # The last byte of a PNG is part of a checksum that decoders do not look at.
        return encoded[:-1] + bytes([encoded[-1] ^ 1]) if sha256 in self._damaged else encoded


def _turn(row: Trajectory, number: int, **changes: object) -> Trajectory:
    turns = list(row.turns)
    turns[number] = turns[number].model_copy(update=changes)
    return row.model_copy(update={"turns": tuple(turns)})


def _places(row: Trajectory, fits: Callable[[Turn], bool]) -> list[int]:
    return [number for number, turn in enumerate(row.turns) if fits(turn)]


def _letter(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    return text[:at] + ("y" if text[at] == "x" else "x") + text[at + 1 :]


def _observation(row: Trajectory, rng: random.Random) -> Trajectory | None:
    places = _places(row, lambda turn: bool(turn.observation and turn.observation.text))
    if not places:
        return None
    number = rng.choice(places)
    seen = row.turns[number].observation
    assert seen is not None
    changed = seen.model_copy(update={"text": _letter(seen.text, rng)})
    return _turn(row, number, observation=changed)


def _picture(change: str) -> Alter:
    """Return what drops a picture of an observation, or names another one in its place."""

    def alter(row: Trajectory, rng: random.Random) -> Trajectory | None:
        places = _places(row, lambda turn: bool(turn.observation and turn.observation.images))
        if not places:
            return None
        number = rng.choice(places)
        seen = row.turns[number].observation
        assert seen is not None
        images = list(seen.images)
        at = rng.randrange(len(images))
        images[at : at + 1] = [] if change == "dropped" else [row.images[0]]
        if tuple(images) == seen.images:
            return None
        return _turn(row, number, observation=seen.model_copy(update={"images": tuple(images)}))

    return alter


def _is_code(turn: Turn) -> bool:
    return isinstance(turn.action, ToolCall) and bool(turn.action.code)


def _code(row: Trajectory, rng: random.Random) -> Trajectory | None:
    """Alter the code that was run, and leave the text that asked for it."""
    if not (places := _places(row, _is_code)):
        return None
    number = rng.choice(places)
    action = row.turns[number].action
    assert isinstance(action, ToolCall)
    return _turn(row, number, action=action.model_copy(update={"code": _letter(action.code, rng)}))


def _said(row: Trajectory, rng: random.Random) -> Trajectory | None:
    """Alter a digit of the code in the text, and leave the code that was run."""
    places = _places(row, lambda turn: _is_code(turn) and bool(_digits(turn)))
    if not places:
        return None
    number = rng.choice(places)
    return _turn(row, number, text=_other_digit(row.turns[number], rng))


def _both(row: Trajectory, rng: random.Random) -> Trajectory | None:
    """Alter a digit of the code in text and action alike."""
    if (changed := _said(row, rng)) is None:
        return None
    number = next(n for n, turn in enumerate(changed.turns) if turn.text != row.turns[n].text)
    before, after = row.turns[number].text, changed.turns[number].text
    action = row.turns[number].action
    assert isinstance(action, ToolCall)
    at = next(n for n, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    start = before.index(action.code)
    code = action.code[: at - start] + after[at] + action.code[at - start + 1 :]
    return _turn(changed, number, action=action.model_copy(update={"code": code}))


def _digits(turn: Turn) -> list[int]:
    """Return where the digits of the code stand in the text of a turn."""
    action = turn.action
    if not isinstance(action, ToolCall) or (start := turn.text.find(action.code)) < 0:
        return []
    # Names such as image_1 end in a digit, too.
    found = re.finditer(r"(?<![\w.])\d+", action.code)
    return [start + at for match in found for at in range(*match.span())]


def _other_digit(turn: Turn, rng: random.Random) -> str:
    at = rng.choice(_digits(turn))
    digit = str((int(turn.text[at]) + rng.randint(1, 9)) % 10)
    return turn.text[:at] + digit + turn.text[at + 1 :]


def _answer(row: Trajectory, rng: random.Random) -> Trajectory | None:
    return row.model_copy(update={"answer": _letter(row.answer, rng)}) if row.answer else None


def _verdict(row: Trajectory, rng: random.Random) -> Trajectory | None:
    others = {Verdict.CORRECT: Verdict.INCORRECT, Verdict.INCORRECT: Verdict.CORRECT}
    other = None if row.verdict is None else others.get(row.verdict)
    return None if other is None else row.model_copy(update={"verdict": other})


ALTERATIONS: dict[str, Alter] = {
    "a letter of an observation": _observation,
    "a picture dropped": _picture("dropped"),
    "another picture in its place": _picture("replaced"),
    "code that was run": _code,
    "code in the text": _said,
    "a digit of code, text and action alike": _both,
    "the answer": _answer,
    "the verdict": _verdict,
}
BYTES = "a byte of a stored picture"


def alter_all(entries: Sequence[Entry], alter: Alter) -> Iterator[Entry]:
    """Yield the entries that have a place for an alteration, altered."""
    for entry in entries:
        rng = random.Random(entry.trajectory.trajectory_id)
        changed = alter(entry.trajectory, rng)
        if changed is not None:
            yield entry._replace(trajectory=changed)


async def measure(entries: Sequence[Entry], pictures: ImageStore, root: Path) -> dict[str, Any]:
    """Replay untouched and altered; return what came of it."""
    params = load_params(root / "params.yaml")
    async with open_kit(params, corpus=root / "data" / "corpus") as kit:

        async def run(some: Sequence[Entry], store: ImageStore) -> list[Replayed]:
            results = replay_all(some, kit=kit, pictures=store, grading=params.grading)
            return [one async for one in results]

        untouched = await run(entries, pictures)
        # What cannot be run again as it is, for want of a picture or a sample, tells nothing.
        good = [
            entry
            for entry, one in zip(entries, untouched, strict=True)
            if one.outcome is Outcome.EQUAL
        ]
        found: dict[str, dict[str, object]] = {}
        for name, alter in ALTERATIONS.items():
            changed = list(alter_all(good, alter))
            found[name] = _told(changed, await run(changed, pictures))
        shown = [entry for entry in good if any(_shown(entry.trajectory))]
        damaged = frozenset(next(_shown(entry.trajectory)) for entry in shown)
        found[BYTES] = _told(shown, await run(shown, _Damaged(pictures, damaged)))
    models: dict[str, Counter[str]] = {}
    for entry, one in zip(entries, untouched, strict=True):
        models.setdefault(entry.model, Counter())[one.outcome.value] += 1
    differences = [
        [one.trajectory_id, *difference] for one in untouched for difference in one.differences
    ]
    return {
        "trajectories": len(untouched),
        "calls": sum(one.num_calls for one in untouched),
        "outcomes": {model: dict(models[model]) for model in sorted(models)},
        "differences": differences[:_SHOWN],
        "alterations": found,
    }


def _shown(row: Trajectory) -> Iterator[str]:
    """Yield the hashes of the pictures that observations show, then those of the question."""
    for turn in row.turns:
        yield from (ref.sha256 for ref in (turn.observation.images if turn.observation else ()))
    yield from (ref.sha256 for ref in row.images)


def _told(changed: Sequence[Entry], results: Sequence[Replayed]) -> dict[str, object]:
    missed = [
        entry.trajectory
        for entry, one in zip(changed, results, strict=True)
        if one.outcome is not Outcome.DIFFERENT
    ]
    return {
        "made": len(changed),
        "found": len(changed) - len(missed),
        # What fails as it did before the alteration gives the same as before.
        "missed_with_a_failed_call": sum(row.num_failed_calls > 0 for row in missed),
        "missed": [row.trajectory_id for row in missed][:_SHOWN],
    }


def add_up(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of what was measured on several slices."""
    outcomes: Counter[str] = Counter()
    found: dict[str, Counter[str]] = {name: Counter() for name in (*ALTERATIONS, BYTES)}
    for part in parts:
        for counts in part["outcomes"].values():
            outcomes.update(counts)
        for name, told in part["alterations"].items():
            found[name].update({key: told[key] for key in told if key != "missed"})
    return {
        "slice": "all",
        **{key: sum(part[key] for part in parts) for key in ("trajectories", "calls")},
        "outcomes": dict(outcomes),
        "alterations": {name: dict(counts) for name, counts in found.items()},
    }


def draw(entries: Sequence[Entry], num: int) -> list[Entry]:
    """Return so many at most, evenly drawn."""
    num = min(num, len(entries))
    return [entries[number * len(entries) // num] for number in range(num)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slices", nargs="+", choices=SLICES, help="whose trajectories")
    parser.add_argument("--limit", type=int, default=1000, help="at most so many of all slices")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    options = parser.parse_args()
    parts = []
    for number, name in enumerate(options.slices):
        chosen = open_slice(name, options.root)
        share = options.limit // len(options.slices)
        share += number < options.limit % len(options.slices)
        entries = draw(list(chosen.iter_entries()), share)
        parts.append(
            {"slice": name, **asyncio.run(measure(entries, chosen.pictures, options.root))}
        )
        print(json.dumps(parts[-1]), flush=True)
    if len(parts) > 1:
        print(json.dumps(add_up(parts)))


if __name__ == "__main__":
    main()
