"""What a call gave then and what it gives now."""

import ast
import difflib
import warnings
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from agentic_vlm.schema import Observation


class Outcome(StrEnum):
    """How what is seen again compares with what is stored."""

    EQUAL = "equal"
    """Text, pictures, status and class of error are the same."""
    VOLATILE = "volatile"
    """They differ, and the code reads a clock or draws by chance: no two runs need to agree."""
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


_VOLATILE_NAMES = frozenset(
    {"time", "datetime", "random", "secrets", "uuid", "urandom", "perf_counter", "default_rng"}
    | {"today", "now", "monotonic", "process_time", "shuffle", "getpid", "timeit"}
)
_MAX_CHARS = 240


def compare_observations(
    stored: Observation, seen: Observation, *, turn: int, is_volatile: bool
) -> list[Difference]:
    """Return every field in which two observations differ.

    Args:
        stored: what the trajectory holds.
        seen: what the same call gives now.
        turn: number of the turn, from 1.
        is_volatile: whether the code of this session reads a clock or draws by chance.
    """
    outcome = Outcome.VOLATILE if is_volatile else Outcome.DIFFERENT
    pairs: dict[str, tuple[object, object]] = {
        "text": (stored.text, seen.text),
        "pictures": (
            [ref.sha256 for ref in stored.images],
            [ref.sha256 for ref in seen.images],
        ),
        "status": (stored.status.value, seen.status.value),
        "error class": (stored.error_class, seen.error_class),
        "dropped characters": (stored.num_dropped_chars, seen.num_dropped_chars),
    }
    return [
        Difference(f"turn {turn}, observation {name}", outcome, describe(was, now))
        for name, (was, now) in pairs.items()
        if was != now
    ]


def describe(was: object, now: object) -> str:
    """Return what was and what is, around the first place where they part."""
    left, right = str(was), str(now)
    matcher = difflib.SequenceMatcher(None, left[:2000], right[:2000], autojunk=False)
    same = matcher.get_matching_blocks()[0]
    begin = max(0, same.size - 30) if same.a == 0 and same.b == 0 else 0
    return f"was {left[begin : begin + _MAX_CHARS]!r}, is now {right[begin : begin + _MAX_CHARS]!r}"


def is_volatile(cells: Iterable[str]) -> bool:
    """Tell whether code reads a clock or draws by chance, by the names that it uses.

    The sandbox seeds `random` and NumPy for each session, so such code mostly gives the same again;
    a name is an excuse for a difference, never a difference.

    >>> is_volatile(["import random", "print(3)"]), is_volatile(["print('time')"])
    (True, False)
    """
    for code in cells:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) if name in _VOLATILE_NAMES:
                    return True
                case ast.Import(names=names) | ast.ImportFrom(names=names):
                    parts = {part for one in names for part in one.name.split(".")}
                    module = getattr(node, "module", None) or ""
                    if (parts | set(module.split("."))) & _VOLATILE_NAMES:
                        return True
    return False
