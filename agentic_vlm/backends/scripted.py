"""A policy that replays given texts: teachers, dry runs and tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agentic_vlm.backends.base import (
    Completion,
    FinishReason,
    Request,
    SamplingParams,
    cut_at_stop,
)
from agentic_vlm.errors import BackendUnavailable

Script = Callable[[Request], "str | Completion"]
"""Writes the next turn; a Completion is passed on as it is."""


class PolicyEncoder(Protocol):
    """Turns a scripted text into token ids and back; `agent.render.Renderer` is one."""

    def encode_policy(self, text: str, *, ends_turn: bool) -> tuple[int, ...]:
        """Return the ids of a turn, with the end-of-turn token where it ends itself."""
        ...

    def decode_policy(self, ids: Sequence[int]) -> str:
        """Return the text of a turn without the end-of-turn token."""
        ...


class ScriptedPolicy:
    """Asks a script for each turn, then behaves as a sampler: stop strings and token limits."""

    def __init__(
        self,
        script: Script,
        *,
        policy_id: str = "scripted:script",
        encoder: PolicyEncoder | None = None,
    ) -> None:
        """Keep the script; with an encoder, completions carry token ids."""
        self.policy_id = policy_id
        self._script = script
        self._encoder = encoder

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the script's next turn, cut after a stop string and at the token limit.

        Raises:
            BackendUnavailable: the script has no turn left for this episode.
        """
        written = self._script(request)
        if isinstance(written, Completion):
            return written
        text, is_stopped = cut_at_stop(written, params.stop)
        if self._encoder is None:
            return Completion(text, FinishReason.STOP, None, None)
        ids = self._encoder.encode_policy(text, ends_turn=not is_stopped)
        if len(ids) <= params.max_tokens:
            return Completion(text, FinishReason.STOP, ids, None)
        ids = ids[: params.max_tokens]
        return Completion(self._encoder.decode_policy(ids), FinishReason.LENGTH, ids, None)

    def expect(self, num_episodes: int) -> None:
        """Need no announcement: turns of different episodes do not meet."""

    def done(self, episode_id: str) -> None:
        """Need no announcement."""

    async def close(self) -> None:
        """Hold nothing."""


def script_of(turns: Mapping[str, Sequence[str]]) -> Script:
    """Return a script that replays fixed turns, by episode id.

    >>> script = script_of({"e1": ["<answer>7</answer>"]})
    """

    def write(request: Request) -> str:
        texts = turns.get(request.episode_id, ())
        if request.turn >= len(texts):
            raise BackendUnavailable(
                f"scripted policy, episode {request.episode_id}, turn {request.turn + 1}",
                f"the script has {len(texts)} turn(s)",
                "give the script a turn for every observation",
            )
        return texts[request.turn]

    return write
