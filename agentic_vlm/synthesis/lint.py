"""Whether a trajectory can be taught as it stands: what a trainer would trip over."""

from collections.abc import Collection

from agentic_vlm.schema import FinalAnswer, StopReason, ToolCall, Trajectory

MARKER = "<image>"


def find_lint(trajectory: Trajectory, *, tools: Collection[str]) -> str:
    """Return the first fault; empty where there is none.

    Markers equal pictures, turns and observations alternate, every call is of a registered tool,
    and the last turn answers.

    Args:
        trajectory: one that is to be taught.
        tools: names of the tools that the policy may call.
    """
    if trajectory.prompt.count(MARKER) != len(trajectory.images):
        markers = trajectory.prompt.count(MARKER)
        return f"prompt: {markers} marker(s), {len(trajectory.images)} picture(s)"
    if not trajectory.turns:
        return "no turn"
    for number, turn in enumerate(trajectory.turns, start=1):
        is_last = number == len(trajectory.turns)
        seen = turn.observation
        if MARKER in turn.text:
            return f"turn {number}: the policy wrote {MARKER}"
        if not is_last and seen is None:
            return f"turn {number}: no observation before the next turn"
        if seen is not None and seen.text.count(MARKER) != len(seen.images):
            markers = seen.text.count(MARKER)
            return f"turn {number}: {markers} marker(s), {len(seen.images)} picture(s)"
        if isinstance(turn.action, ToolCall) and turn.action.tool not in tools:
            return f"turn {number}: tool {turn.action.tool!r} is not registered"
    is_answered = isinstance(trajectory.turns[-1].action, FinalAnswer)
    if trajectory.stop_reason is StopReason.ANSWER and not is_answered:
        return "the last turn does not answer"
    return ""
