"""Which teacher trajectories are taught: right, free of errors, useful, short enough, in shares.

Source: DeepEyesV2, section 3 and appendix A.1: a correct final answer and no code error anywhere;
long chain-of-thought without tools is mixed in.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from agentic_vlm.grading import grade_answer
from agentic_vlm.params import GradingParams, SelectSftParams
from agentic_vlm.schema import (
    CuratedSample,
    Need,
    ObservationStatus,
    Rejection,
    RejectReason,
    StopReason,
    ToolCall,
    Trajectory,
    Verdict,
    content_id,
)
from agentic_vlm.synthesis.agreement import Agreement
from agentic_vlm.synthesis.leaks import find_leak
from agentic_vlm.synthesis.lint import find_lint
from agentic_vlm.synthesis.placeholder import is_placeholder
from agentic_vlm.synthesis.usefulness import count_useful_calls

CountTokens = Callable[[Trajectory], int]
"""Returns the tokens of a trajectory in the policy's context, pictures included."""
_REASONED = ("text", "reasoning")
"""Families whose tool-free trajectories come closest to long chain-of-thought."""
_TOOLS = ("python", "search", "image_search", "visit")


@dataclass(slots=True)
class Selection:
    """The outcome."""

    kept: list[Trajectory] = field(default_factory=list)
    """With verdict, in the order in which they came."""
    rejections: list[Rejection] = field(default_factory=list)


def select(
    trajectories: Iterable[Trajectory],
    samples: Mapping[str, CuratedSample],
    *,
    params: SelectSftParams,
    grading: GradingParams,
    count_tokens: CountTokens,
    tools: Collection[str] = _TOOLS,
) -> Selection:
    """Return the trajectories to learn from, graded, and the others with a reason.

    Args:
        trajectories: of the teacher.
        samples: curated samples by id.
        params: limits and shares.
        grading: tolerances.
        count_tokens: measures a trajectory for the model that is to learn from it.
        tools: names of the tools that the policy may call.
    """
    selection = Selection()
    seen: dict[str, str] = {}
    rows = list(trajectories)
    agreement = Agreement(rows, samples, grading=grading)
    for trajectory in rows:
        sample = samples[trajectory.sample_id]
        fault = _family_fault(sample, params.families)
        if fault is None:
            fault = _fault(trajectory, sample, params, grading)
        if fault is None:
            fault = _length_fault(trajectory, params, count_tokens)
        if fault is None:
            fault = _conduct_fault(trajectory, sample, tools)
        if fault is None and params.min_agreement > 0:
            fault = agreement.fault(trajectory, params.min_agreement)
        if fault is None:
            fault = _double(trajectory, seen)
        if fault is None:
            graded = trajectory.model_copy(update={"verdict": Verdict.CORRECT})
            selection.kept.append(graded)
        else:
            selection.rejections.append(_reject(trajectory, *fault))
    _limit_tool_free(selection, samples, share=params.tool_free_share)
    _limit_tool_using(selection, share=params.max_tool_share)
    return selection


Fault = tuple[RejectReason, str]


def _family_fault(sample: CuratedSample, families: Collection[str]) -> Fault | None:
    if sample.family in families:
        return None
    return RejectReason.OVER_SHARE, f"family {sample.family} is not taught"


def _fault(
    trajectory: Trajectory,
    sample: CuratedSample,
    params: SelectSftParams,
    grading: GradingParams,
) -> Fault | None:
    if trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        return RejectReason.INFRASTRUCTURE, trajectory.failure
    grade = grade_answer(trajectory.answer, sample, params=grading)
    if grade.verdict is not Verdict.CORRECT:
        evidence = f"{trajectory.stop_reason}: {trajectory.answer!r}, {grade.reason}"
        return RejectReason.NOT_CORRECT, evidence
    for number, turn in enumerate(trajectory.turns, start=1):
        seen = turn.observation
        if seen is not None and seen.status is not ObservationStatus.OK:
            return RejectReason.CODE_ERROR, f"turn {number}: {seen.error_class or seen.status}"
        code = turn.action.code if isinstance(turn.action, ToolCall) else ""
        if code and is_placeholder(code):
            return RejectReason.PLACEHOLDER_CODE, f"turn {number}: {code[:80]!r}"
    if sample.need is Need.TOOL and trajectory.num_calls == 0:
        return RejectReason.NO_USEFUL_CALL, "made to need a tool, answered without a call"
    return _density_fault(trajectory, sample, params.tool_density)


def _conduct_fault(
    trajectory: Trajectory, sample: CuratedSample, tools: Collection[str]
) -> Fault | None:
    """Return what makes a right trajectory a bad lesson."""
    if leak := find_leak(trajectory, sample):
        return RejectReason.NO_USEFUL_CALL, f"answer leak: {leak}"
    if sample.need is Need.TOOL and count_useful_calls(trajectory) == 0:
        return RejectReason.NO_USEFUL_CALL, "no call brought anything new"
    if lint := find_lint(trajectory, tools=tools):
        return RejectReason.MALFORMED_ROW, lint
    return None


def _density_fault(
    trajectory: Trajectory, sample: CuratedSample, max_density: float
) -> Fault | None:
    if not sample.solution:
        return None
    num_calls = trajectory.num_calls - count_recoveries(trajectory)
    if num_calls <= max_density * len(sample.solution):
        return None
    evidence = f"{num_calls} calls for {len(sample.solution)} step(s)"
    return RejectReason.NO_USEFUL_CALL, evidence


def count_recoveries(trajectory: Trajectory) -> int:
    """Return how many calls were done over: the next call is of the same tool and kind.

    Two searches in a row are a second try; so are two crops, or two computations.
    """
    kinds = [_kind(turn.action) for turn in trajectory.turns if isinstance(turn.action, ToolCall)]
    return sum(left == right for left, right in itertools.pairwise(kinds))


def _kind(call: ToolCall) -> tuple[str, bool]:
    return call.tool, "crop(" in call.code


def _length_fault(
    trajectory: Trajectory, params: SelectSftParams, count_tokens: CountTokens
) -> Fault | None:
    observed = (turn.observation for turn in trajectory.turns)
    num_images = len(trajectory.images) + sum(len(seen.images) for seen in observed if seen)
    if num_images > params.max_images:
        return RejectReason.TOO_LONG, f"{num_images} pictures exceed {params.max_images}"
    num_tokens = count_tokens(trajectory)
    if num_tokens > params.max_tokens:
        return RejectReason.TOO_LONG, f"{num_tokens} tokens exceed {params.max_tokens}"
    return None


def _double(trajectory: Trajectory, seen: dict[str, str]) -> Fault | None:
    """Two attempts at a sample that say the same teach it once."""
    said = content_id(trajectory.sample_id, *(turn.text for turn in trajectory.turns))
    twin = seen.setdefault(said, trajectory.trajectory_id)
    if twin == trajectory.trajectory_id:
        return None
    return RejectReason.EXACT_DUPLICATE, f"says the same as {twin}"


def _limit_tool_free(
    selection: Selection, samples: Mapping[str, CuratedSample], *, share: float
) -> None:
    """Leave out tool-free trajectories beyond their share; where there are fewer, all stay."""
    free = [row for row in selection.kept if row.num_calls == 0]
    num_with_tools = len(selection.kept) - len(free)
    limit = round(num_with_tools * share / (1 - share))
    if not num_with_tools:
        # A pool of long chain-of-thought alone has nothing to be mixed with.
        return

    def preference(row: Trajectory) -> tuple[bool, str]:
        is_other = samples[row.sample_id].family not in _REASONED
        return is_other, content_id("tool_free", row.trajectory_id)

    evidence = f"tool-free trajectories may be {share:.0%} of the mixture"
    _leave_out(selection, sorted(free, key=preference)[limit:], evidence)


def _limit_tool_using(selection: Selection, *, share: float) -> None:
    """Leave out trajectories with calls beyond their share, chosen by digest."""
    using = [row for row in selection.kept if row.num_calls > 0]
    num_free = len(selection.kept) - len(using)
    if share == 1 or not num_free:
        return
    limit = round(num_free * share / (1 - share))
    using.sort(key=lambda row: content_id("tool_using", row.trajectory_id))
    evidence = f"trajectories with calls may be {share:.0%} of the mixture"
    _leave_out(selection, using[limit:], evidence)


def _leave_out(selection: Selection, rows: Iterable[Trajectory], evidence: str) -> None:
    dropped = {row.trajectory_id for row in rows}
    selection.rejections += [
        _reject(row, RejectReason.OVER_SHARE, evidence)
        for row in selection.kept
        if row.trajectory_id in dropped
    ]
    selection.kept = [row for row in selection.kept if row.trajectory_id not in dropped]


def _reject(trajectory: Trajectory, reason: RejectReason, evidence: str) -> Rejection:
    return Rejection(
        stage="select_sft", row_id=trajectory.trajectory_id, reason=reason, evidence=evidence
    )
