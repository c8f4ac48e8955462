"""A stored trajectory back to tokens and pictures, for supervised training."""

from collections.abc import Callable

from PIL import Image

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.parse import STOP_STRINGS
from agentic_vlm.agent.render import Renderer
from agentic_vlm.schema import ImageRef, StopReason, Trajectory

LoadImage = Callable[[ImageRef], Image.Image]


def replay(trajectory: Trajectory, *, renderer: Renderer, load: LoadImage) -> TokenContext:
    """Return the context that a policy would have had, had it written this trajectory itself.

    Args:
        trajectory: any finished episode.
        renderer: of the model that is to learn from it.
        load: decodes a picture of the image store.
    """
    context = renderer.render_prompt(
        trajectory.system,
        trajectory.prompt,
        [load(ref) for ref in trajectory.images],
        episode_id=trajectory.trajectory_id,
    )
    for turn in trajectory.turns:
        is_cut = trajectory.stop_reason is StopReason.LENGTH and turn is trajectory.turns[-1]
        ends_turn = not is_cut and not turn.text.endswith(STOP_STRINGS)
        context.append_policy(renderer.encode_policy(turn.text, ends_turn=ends_turn), None)
        if turn.observation is not None:
            images = [load(ref) for ref in turn.observation.images]
            renderer.append_observation(context, turn.observation.text, images)
    return context
