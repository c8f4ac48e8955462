"""A trajectory that knows its answer before it has looked, and calls whose result nobody used."""

import re

from agentic_vlm.schema import CuratedSample, Need, ToolCall, Trajectory

_TALKS_OF_REFERENCE = re.compile(
    r"\b(?:reference|gold|provided|given|expected) answer\b|\bground[- ]truth\b"
    r"|\banswer (?:key|is (?:given|known|provided))\b"
    r"|\baccording to the (?:solution|label|annotation)\b",
    re.IGNORECASE,
)
_ACTION = re.compile(r"<(code|tool_call|answer)>.*?(?:</\1>|$)", re.DOTALL)
_WORD = re.compile(r"\w+(?:[.,]\d+)*")
_MIN_ANSWER_CHARS = 3


def find_leak(trajectory: Trajectory, sample: CuratedSample) -> str:
    """Return how a trajectory shows that the teacher knew the reference; empty where it does not.

    Either it talks of a reference answer, or, where a tool is needed, its thoughts before the first
    observation state the answer, which nothing has shown yet.
    """
    for number, turn in enumerate(trajectory.turns, start=1):
        thought = _ACTION.sub(" ", turn.text)
        if match := _TALKS_OF_REFERENCE.search(thought):
            return f"turn {number} says {match[0]!r}"
    if sample.need is not Need.TOOL or not trajectory.turns:
        return ""
    first = trajectory.turns[0]
    if not isinstance(first.action, ToolCall):
        return ""
    answer = _words(sample.answer)
    if len("".join(answer)) < _MIN_ANSWER_CHARS or _holds(_words(sample.question), answer):
        return ""
    if _holds(_words(_ACTION.sub(" ", first.text)), answer):
        return f"turn 1 states {sample.answer!r} before any observation"
    return ""


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _holds(words: list[str], wanted: list[str]) -> bool:
    starts = range(len(words) - len(wanted) + 1)
    return any(words[at : at + len(wanted)] == wanted for at in starts)
