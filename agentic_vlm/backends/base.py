"""Policy: completes the next assistant message of an episode; what every backend offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from PIL import Image

from agentic_vlm.backends.seal import Seal
from agentic_vlm.schema import Role


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    """The policy ended its turn, or wrote a stop string."""
    LENGTH = "length"
    """The token limit of the turn was reached."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample one completion."""

    temperature: float
    """0 decodes greedily."""
    max_tokens: int
    """Most tokens of this turn."""
    stop: tuple[str, ...]
    """Strings that end the turn; they stay in the text."""
    seed: int
    """Seed of the episode's own generator; equal seeds and contexts give equal completions."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message for backends that take text: pieces of text and pictures in reading order."""

    role: Role
    parts: tuple[str | Image.Image, ...]

    @property
    def text(self) -> str:
        """The text pieces, with `<image>` where a picture stands."""
        return "".join(part if isinstance(part, str) else "<image>" for part in self.parts)


@dataclass(slots=True)
class Request:
    """One turn to be completed."""

    episode_id: str
    """Names the episode; deterministic batching sorts by it."""
    turn: int
    """0 for the first assistant message."""
    messages: list[ChatMessage]
    """The conversation so far, for text backends."""
    prompt_ids: list[int] | None
    """The whole context as token ids, placeholders expanded, pre-fill included; absent for text."""
    images: list[Image.Image]
    """Every picture of the context at original size, in the order of its placeholders."""
    assistant_prefix: str
    """What the turn begins with already, such as `<think>`; the completion continues it."""
    seal: Seal | None = None
    """What ids and pictures must be where they are sampled from; absent for text backends."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the policy wrote."""

    text: str
    """The text without the pre-fill and without the end-of-turn token; a stop string is kept."""
    finish_reason: FinishReason
    """Why it ended."""
    token_ids: tuple[int, ...] | None
    """The sampled ids, a sampled end-of-turn token included; absent for text backends."""
    logprobs: tuple[float, ...] | None
    """One per token id, under the sampling policy; absent where the backend gives none."""
    num_tokens: int = 0
    """Tokens written, for text backends; elsewhere `token_ids` tells."""
    num_context_tokens: int = 0
    """Tokens of prompt and completion as a server counts them; 0 where nobody does."""


class Policy(Protocol):
    """Completes turns; used by many episodes at once."""

    policy_id: str
    """Names who acts, for the trajectory: a checkpoint id, `scripted:...`, or a model name."""

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the next assistant message.

        Raises:
            BackendUnavailable: the backend failed after its own retries.
        """
        ...

    def expect(self, num_episodes: int) -> None:
        """Announce that so many further episodes run together; lets batches form from ids."""
        ...

    def done(self, episode_id: str) -> None:
        """Tell that an announced episode has ended and asks for no further turn."""
        ...

    async def close(self) -> None:
        """Release what the policy holds."""
        ...


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return the text up to and including the first stop string, and whether there was one.

    >>> cut_at_stop("<code>1</code> and more", ("</code>",))
    ('<code>1</code>', True)
    """
    ends = [text.find(mark) + len(mark) for mark in stop if mark in text]
    return (text[: min(ends)], True) if ends else (text, False)
