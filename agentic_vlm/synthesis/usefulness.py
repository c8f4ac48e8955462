"""Which calls were of use: their observations brought something new."""

from agentic_vlm.schema import ObservationStatus, ToolCall, Trajectory, Turn
from agentic_vlm.synthesis.placeholder import is_placeholder


def count_useful_calls(trajectory: Trajectory) -> int:
    """Return how many calls brought something that was not known before.

    A call is of use if it went well, its code does something, and its observation holds text or a
    picture that neither the question nor an earlier observation showed.
    """
    seen = {ref.sha256 for ref in trajectory.images}
    texts: set[str] = set()
    num_useful = 0
    for turn in trajectory.turns:
        observation = turn.observation
        if not isinstance(turn.action, ToolCall) or observation is None:
            continue
        new_pictures = {ref.sha256 for ref in observation.images} - seen
        text = " ".join(observation.text.replace("<image>", " ").split())
        is_new = bool(new_pictures) or (bool(text) and text not in texts)
        num_useful += is_new and _works(turn)
        seen |= new_pictures
        texts.add(text)
    return num_useful


def _works(turn: Turn) -> bool:
    if turn.observation is None or turn.observation.status is not ObservationStatus.OK:
        return False
    code = turn.action.code if isinstance(turn.action, ToolCall) else ""
    return not (code and is_placeholder(code))
