"""What two runs of the same code need not agree on: clocks, calendars and chance."""

import ast
import difflib
import re
import warnings
from collections.abc import Iterable
from enum import IntEnum


class Volatility(IntEnum):
    """What code reads that the next run need not find again; the highest one tells."""

    NONE = 0
    """Nothing."""
    CHANCE = 1
    """Random numbers and identifiers. What changes between two runs now is excused."""
    CLOCK = 2
    """Seconds and durations: fractions and very long numbers are excused, too."""
    CALENDAR = 3
    """Dates: two runs now agree on them, so that every number and name of a day is excused."""


_NAMES = {
    Volatility.CHANCE: frozenset(
        {"random", "secrets", "uuid", "urandom", "default_rng", "shuffle", "getpid"}
    ),
    Volatility.CLOCK: frozenset({"time", "perf_counter", "monotonic", "process_time", "timeit"}),
    Volatility.CALENDAR: frozenset(
        {"now", "utcnow", "today", "localtime", "gmtime", "ctime", "asctime", "strftime"}
    ),
}
_DAYS = (
    r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?|AM|PM|Jan(?:uary)?|Feb(?:ruary)?"
    r"|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:tember)?|Oct(?:ober)?|Nov(?:ember)?"
    r"|Dec(?:ember)?"
)
_EXCUSED = {
    Volatility.CLOCK: re.compile(r"\d+\.\d+(?:e-?\d+)?|\d{9,}|\b0\b"),
    Volatility.CALENDAR: re.compile(rf"\d+|\b(?:{_DAYS})\b"),
}
_MAX_WORDS = 4000
"""Words of a text that are aligned; the rest has to be equal to the letter."""


def volatility_of(cells: Iterable[str]) -> Volatility:
    """Return what code reads, by the names that it uses.

    The sandbox seeds `random` and NumPy for each session, so such code mostly gives the same again;
    a name is an excuse for a difference, never a difference.

    >>> volatility_of(["import random", "print(3)"]).name, volatility_of(["print('time')"]).name
    ('CHANCE', 'NONE')
    """
    found: set[str] = set()
    for code in cells:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    found.add(name)
                case ast.Import(names=names) | ast.ImportFrom(names=names):
                    found.update(part for one in names for part in one.name.split("."))
                    found.update((getattr(node, "module", None) or "").split("."))
    return max((kind for kind, names in _NAMES.items() if names & found), default=Volatility.NONE)


def agrees(stored: str, seen: str, again: str, volatility: Volatility) -> bool:
    """Tell whether a stored text is one that this code could have given.

    Args:
        stored: what the trajectory holds.
        seen: what the same call gives now.
        again: what it gives once more, in a session of its own.
        volatility: what the session reads.

    >>> agrees("id 81, sum 42", "id 17, sum 42", "id 99, sum 42", Volatility.CHANCE)
    True
    >>> agrees("id 81, sum 43", "id 17, sum 42", "id 99, sum 42", Volatility.CHANCE)
    False
    """
    excused = _EXCUSED.get(volatility)
    if excused is not None:
        stored, seen, again = (excused.sub("\0", text) for text in (stored, seen, again))
    left, right = _words(seen), _words(again)
    if max(len(left), len(right)) > _MAX_WORDS:
        return stored == seen
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    blocks = ["".join(left[at.a : at.a + at.size]) for at in matcher.get_matching_blocks()]
    begins = left[:1] == right[:1]
    ends = left[-1:] == right[-1:]
    return _fits(stored, [block for block in blocks if block], begins=begins, ends=ends)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


def _fits(text: str, blocks: list[str], *, begins: bool, ends: bool) -> bool:
    """Tell whether a text holds the blocks in their order, with anything between them."""
    if begins and ends and len(blocks) == 1:
        return text == blocks[0]
    at = 0
    for number, block in enumerate(blocks):
        if number == 0 and begins:
            if not text.startswith(block):
                return False
            at = len(block)
            continue
        if number == len(blocks) - 1 and ends:
            return text.endswith(block) and len(text) - len(block) >= at
        found = text.find(block, at)
        if found < 0:
            return False
        at = found + len(block)
    return bool(blocks) or not (begins or ends)
