"""What a call gave then and what it gives now."""

import difflib
from enum import StrEnum
from typing import NamedTuple

from agentic_vlm.replay.volatile import Volatility, agrees
from agentic_vlm.schema import Observation


class Outcome(StrEnum):
    """How what is seen again compares with what is stored."""

    EQUAL = "equal"
    """Text, pictures, status and class of error are the same."""
    VOLATILE = "volatile"
    """They differ only in what a clock or chance gives: two runs of now differ there, too."""
    DIFFERENT = "different"
    """They differ without such an excuse."""
    UNAVAILABLE = "unavailable"
    """Could not be run again: a tool, a picture or a sample is missing."""


class Difference(NamedTuple):
    """Something that was compared and is not equal."""

    where: str
    """What it is: `turn 2, observation text`, `verdict`, `picture 1`."""
    outcome: Outcome
    """How it compares."""
    detail: str
    """What was and what is, shortened."""


_MAX_CHARS = 240


def compare_observations(
    stored: Observation,
    seen: Observation,
    *,
    turn: int,
    again: Observation | None = None,
    volatility: Volatility = Volatility.NONE,
) -> list[Difference]:
    """Return every field in which two observations differ.

    Args:
        stored: what the trajectory holds.
        seen: what the same call gives now.
        turn: number of the turn, from 1.
        again: what it gives once more, if it gives anything.
        volatility: what the code of this session reads.
    """
    fields, others = _fields(stored), _fields(seen)
    found = []
    for name, was in fields.items():
        if was == others[name]:
            continue
        is_excused = (
            again is not None
            and bool(volatility)
            and _could_be(name, stored, seen, again, volatility)
        )
        outcome = Outcome.VOLATILE if is_excused else Outcome.DIFFERENT
        where = f"turn {turn}, observation {name}"
        found.append(Difference(where, outcome, describe(was, others[name])))
    return found


def _fields(seen: Observation) -> dict[str, object]:
    return {
        "text": seen.text,
        "pictures": [ref.sha256 for ref in seen.images],
        "status": seen.status.value,
        "error class": seen.error_class,
        "dropped characters": seen.num_dropped_chars,
    }


def _could_be(
    name: str, stored: Observation, seen: Observation, again: Observation, volatility: Volatility
) -> bool:
    """Tell whether the stored field may have come out of code that gives these two."""
    if name == "text":
        return agrees(stored.text, seen.text, again.text, volatility)
    if name == "pictures":
        rows = [[ref.sha256 for ref in one.images] for one in (stored, seen, again)]
        if len({len(row) for row in rows}) > 1:
            return len(rows[1]) != len(rows[2])
        return all(now != then or was == now for was, now, then in zip(*rows, strict=True))
    return _fields(seen)[name] != _fields(again)[name]


def describe(was: object, now: object) -> str:
    """Return what was and what is, around the first place where they part."""
    left, right = str(was), str(now)
    matcher = difflib.SequenceMatcher(None, left[:2000], right[:2000], autojunk=False)
    same = matcher.get_matching_blocks()[0]
    begin = max(0, same.size - 30) if same.a == 0 and same.b == 0 else 0
    return f"was {left[begin : begin + _MAX_CHARS]!r}, is now {right[begin : begin + _MAX_CHARS]!r}"
