"""Why an answer is wrong: the first fault of the episode that decided it.

The paper (DeepEyesV2, arXiv 2511.05271) names errors of execution, wrong choice of a tool or an
operation, and wrong reading of a right result, and shows examples; the rules here are ours. They
follow the reference solution step by step; where there is none, as in published benchmarks, only
outages, missing answers, failed calls and the rest can be told apart.
"""

import ast
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from agentic_vlm.analysis.boxes import looked_at
from agentic_vlm.analysis.calls import CallKind, classify_call
from agentic_vlm.schema import (
    ObservationStatus,
    ParseFailure,
    RawSample,
    SolutionStep,
    StepKind,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
    Verdict,
)

_SEEN = 0.5
"""Share of the evidence that a crop must hold to show it. Ours."""
_ATTEMPT = re.compile(r"</?code>|</?tool_call>|code is not closed|fenced python")


class ErrorKind(StrEnum):
    """What went wrong first."""

    INFRASTRUCTURE = "infrastructure"
    """An outage of ours; no fault of the model."""
    NO_ANSWER = "no_answer"
    """The episode ended without an answer."""
    EXECUTION = "execution"
    """The call that was needed failed, and was not made good."""
    TOOL_CHOICE = "tool_choice"
    """No call where one was needed, one where none was, or one of another kind."""
    WRONG_REGION = "wrong_region"
    """No crop holds what the question is about."""
    MISREAD = "misread"
    """What lay before the model was read, copied or reckoned wrongly."""


class _Call(NamedTuple):
    call: ToolCall
    kind: CallKind
    worked: bool


def diagnose(
    episode: Trajectory, solution: Sequence[SolutionStep], *, has_solution: bool = True
) -> ErrorKind:
    """Return what made a wrong answer wrong.

    Args:
        episode: an episode whose answer is not right.
        solution: the reference steps of its sample; none for questions that need no tool.
        has_solution: whether such steps are known at all.
    """
    if episode.stop_reason is StopReason.INFRASTRUCTURE:
        return ErrorKind.INFRASTRUCTURE
    if episode.answer is None:
        return ErrorKind.NO_ANSWER
    calls = [_read(turn) for turn in episode.turns if isinstance(turn.action, ToolCall)]
    if not has_solution:
        is_failed = bool(calls) and not calls[-1].worked
        return ErrorKind.EXECUTION if is_failed else ErrorKind.MISREAD
    if not solution:
        return ErrorKind.TOOL_CHOICE if calls else ErrorKind.MISREAD
    if _ends_in_failure(episode, calls, solution):
        return ErrorKind.EXECUTION
    worked = [call for call in calls if call.worked]
    for step in solution:
        if fault := _fault_of(step, worked):
            return fault
    return ErrorKind.MISREAD


def diagnose_sample(episode: Trajectory, sample: RawSample) -> ErrorKind | None:
    """Return what is wrong with a graded episode; absent for right and undecided ones."""
    is_outage = episode.stop_reason is StopReason.INFRASTRUCTURE
    if episode.verdict is not Verdict.INCORRECT and not is_outage:
        return None
    # Only generated samples say what they need, and those that need nothing have no steps.
    return diagnose(episode, sample.solution, has_solution=sample.need is not None)


def shows_evidence(call: ToolCall, step: SolutionStep) -> bool:
    """Tell whether a crop holds most of the box that a step names."""
    return step.box is not None and any(
        _covered(step.box, look.box) >= _SEEN for look in looked_at(call) if look.image == 1
    )


def _read(turn: Turn) -> _Call:
    assert isinstance(turn.action, ToolCall)
    seen = turn.observation
    worked = seen is not None and seen.status is ObservationStatus.OK
    return _Call(turn.action, classify_call(turn.action, seen), worked)


def _ends_in_failure(
    episode: Trajectory, calls: Sequence[_Call], solution: Sequence[SolutionStep]
) -> bool:
    """Tell whether the last thing tried was of a kind that the solution needs, and failed."""
    if not calls:
        # A turn that asked for a tool in no form that could be understood.
        return any(
            isinstance(turn.action, ParseFailure)
            and _ATTEMPT.search(f"{turn.text} {turn.action.reason}")
            for turn in episode.turns[:-1]
        )
    last = calls[-1]
    if last.worked:
        return False
    python = {StepKind.CROP, StepKind.COMPUTE}
    needs_python = any(step.kind in python for step in solution)
    needs_search = any(step.kind not in python for step in solution)
    return needs_python if last.call.tool == "python" else needs_search


def _fault_of(step: SolutionStep, calls: Sequence[_Call]) -> ErrorKind | None:
    """Return why a step was not taken; absent if it was, with whatever it was given."""
    match step.kind:
        case StepKind.CROP:
            crops = [one for one in calls if one.kind is CallKind.CROP]
            if not crops:
                return ErrorKind.TOOL_CHOICE
            is_seen = any(shows_evidence(one.call, step) for one in crops)
            return None if is_seen else ErrorKind.WRONG_REGION
        case StepKind.COMPUTE:
            signs = _signs(step.text)
            is_made = any(
                one.kind is CallKind.NUMERICAL and _signs(one.call.code) & signs for one in calls
            )
        case StepKind.TEXT_SEARCH:
            asked = step.text.lower().split()
            is_made = any(
                one.kind is CallKind.TEXT_SEARCH
                and any(word in one.call.arguments_json.lower() for word in asked)
                for one in calls
            )
        case StepKind.IMAGE_SEARCH:
            is_made = any(one.kind is CallKind.IMAGE_SEARCH for one in calls)
    return None if is_made else ErrorKind.TOOL_CHOICE


def _signs(code: str) -> set[str]:
    """Return the kinds of operators in a text that is Python.

    >>> sorted(_signs("print((2 + 3) * 4)"))
    ['Add', 'Mult']
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {type(node.op).__name__ for node in ast.walk(tree) if isinstance(node, ast.BinOp)}


def _covered(evidence: tuple[int, int, int, int], box: tuple[float, float, float, float]) -> float:
    """Return the share of the evidence that lies in a box."""
    width = min(evidence[2], box[2]) - max(evidence[0], box[0])
    height = min(evidence[3], box[3]) - max(evidence[1], box[1])
    area = (evidence[2] - evidence[0]) * (evidence[3] - evidence[1])
    return max(0.0, width) * max(0.0, height) / area if area else 0.0
