"""EpisodeTask: what an episode is asked, and the seeds and ids that follow from it."""

from dataclasses import dataclass

from PIL import Image

from agentic_vlm.schema import ImageRef, ProbeMode, content_id


@dataclass(frozen=True, slots=True)
class EpisodeTask:
    """One attempt at one sample."""

    sample_id: str
    """The sample."""
    question: str
    """Its question, without any prompt around it."""
    images: tuple[Image.Image, ...]
    """Its pictures at original size; tasks of one sample share the objects."""
    image_refs: tuple[ImageRef, ...]
    """The same pictures by digest."""
    mode: ProbeMode
    """With tools or without."""
    attempt: int
    """0 to k - 1."""
    seed: int
    """Seed of the episode's own generator; see `episode_seed`."""
    stage: str
    """The stage that asks."""
    thinks: bool = False
    """In direct mode: whether the prompt asks for reasoning before the answer."""

    @property
    def mode_name(self) -> str:
        """The mode as records name it: direct, think or agent."""
        is_think = self.thinks and self.mode is ProbeMode.DIRECT
        return "think" if is_think else self.mode.value

    def episode_id(self, policy_id: str) -> str:
        """Return the id of the episode and of its trajectory."""
        return content_id(self.stage, policy_id, self.sample_id, self.mode_name, str(self.attempt))


def episode_seed(root: int, *, sample_id: str, mode: ProbeMode, attempt: int) -> int:
    """Return the seed of an attempt: below 2**31, which every generator takes.

    >>> episode_seed(0, sample_id="a", mode=ProbeMode.AGENT, attempt=1)
    1124578213
    """
    return _seed("episode", str(root), sample_id, mode.value, str(attempt))


def turn_seed(seed: int, turn: int) -> int:
    """Return the seed of one turn, so that a turn can be sampled again on its own."""
    return _seed("turn", str(seed), str(turn))


def _seed(*parts: str) -> int:
    return int(content_id(*parts), 16) % 2**31
