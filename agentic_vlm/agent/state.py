"""What grows while an episode runs, and what it is in the end."""

import hashlib
from dataclasses import dataclass, field

from PIL import Image

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.prompt import Prompt
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import ChatMessage
from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    Observation,
    ProbeMode,
    StopReason,
    Trajectory,
    Turn,
)
from agentic_vlm.tools.base import ToolResult
from agentic_vlm.vision import encode_png


@dataclass(frozen=True, slots=True)
class CallTiming:
    """How long a call took: kept apart from the trajectory, which must not depend on the clock."""

    turn: int
    """Number of the turn, from 0."""
    tool: str
    """Name as called."""
    latency_s: float
    """Wall-clock seconds."""
    cost_usd: float = 0.0
    """What services on the network charge for it, US dollars."""


@dataclass(slots=True)
class Episode:
    """A finished episode."""

    trajectory: Trajectory
    """What happened."""
    context: TokenContext | None
    """Its tokens and pictures; absent without a renderer."""
    pictures: dict[str, bytes]
    """Encoded pictures of observations by digest, for the image store."""
    timings: tuple[CallTiming, ...]
    """One per call."""


@dataclass(slots=True)
class EpisodeState:
    """What grows while an episode runs."""

    messages: list[ChatMessage]
    """The conversation, for text backends."""
    images: list[Image.Image]
    """Every picture so far, in order."""
    context: TokenContext | None
    """The tokens so far; absent without a renderer."""
    turns: list[Turn] = field(default_factory=list)
    """The turns so far."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """Encoded pictures of observations by digest."""
    timings: list[CallTiming] = field(default_factory=list)
    """One per call."""
    num_context_tokens: int = 0
    """Tokens after the last turn as a server counts them; 0 where nobody does."""
    failure: str = ""
    """The error text of an infrastructure failure."""

    def observe(self, result: ToolResult) -> None:
        """Record what answers the last turn, once the policy is sure to see it."""
        observation = Observation(
            text=result.text,
            images=tuple(self._keep(image) for image in result.images),
            status=result.status,
            error_class=result.error_class,
            num_dropped_chars=result.num_dropped_chars,
        )
        self.turns[-1] = self.turns[-1].model_copy(update={"observation": observation})

    def _keep(self, image: Image.Image) -> ImageRef:
        encoded = encode_png(image)
        sha256 = hashlib.sha256(encoded).hexdigest()
        self.pictures[sha256] = encoded
        return ImageRef(sha256=sha256, width_px=image.width, height_px=image.height)


def finish(
    task: EpisodeTask,
    state: EpisodeState,
    stop: StopReason,
    *,
    prompt: Prompt,
    policy_id: str,
    protocol: str,
) -> Episode:
    """Return the finished episode."""
    answer = None
    if stop is StopReason.ANSWER and isinstance(last := state.turns[-1].action, FinalAnswer):
        answer = last.text
    trajectory = Trajectory(
        trajectory_id=task.episode_id(policy_id),
        sample_id=task.sample_id,
        stage=task.stage,
        policy=policy_id,
        mode=task.mode_name,
        protocol=task.mode_name if task.mode is ProbeMode.DIRECT else protocol,
        attempt=task.attempt,
        seed=task.seed,
        system=prompt.system,
        prompt=prompt.user,
        images=task.image_refs,
        turns=tuple(state.turns),
        stop_reason=stop,
        failure=state.failure,
        answer=answer,
    )
    return Episode(trajectory, state.context, state.pictures, tuple(state.timings))
