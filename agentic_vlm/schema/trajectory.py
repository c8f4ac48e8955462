"""Trajectory: a finished episode, turn by turn."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from agentic_vlm.schema.image import ImageRef
from agentic_vlm.schema.record import Record
from agentic_vlm.schema.score import Verdict


class StopReason(StrEnum):
    """How an episode ended."""

    ANSWER = "answer"
    """The policy gave a final answer."""
    NO_ACTION = "no_action"
    """Two turns in a row without a usable action."""
    TURN_LIMIT = "turn_limit"
    """The last allowed turn ended without an answer."""
    LENGTH = "length"
    """A turn hit its token limit, or the next observation would not fit."""
    INFRASTRUCTURE = "infrastructure"
    """A sandbox, search engine or backend failed: left out of groups, filters and scores."""

    @property
    def is_truncated(self) -> bool:
        """Whether a limit of ours ended the episode."""
        return self in (StopReason.TURN_LIMIT, StopReason.LENGTH)


class ToolCall(Record):
    """The turn asks for a tool."""

    type: Literal["tool_call"] = "tool_call"
    tool: str
    """python, search or image_search; or an unknown name, which is answered with an error."""
    code: str = ""
    """python: the code, verbatim."""
    arguments_json: str = ""
    """search tools: the JSON text of the arguments; empty where the call gave none."""


class FinalAnswer(Record):
    """The turn answers."""

    type: Literal["final_answer"] = "final_answer"
    text: str
    """Text between the answer tags, stripped."""


class ParseFailure(Record):
    """The turn asks for nothing that can be understood."""

    type: Literal["parse_failure"] = "parse_failure"
    reason: str
    """What is wrong, as the model is told."""


Action = Annotated[ToolCall | FinalAnswer | ParseFailure, Field(discriminator="type")]


class ObservationStatus(StrEnum):
    """What became of a call; every value here is of the model's making."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    MALFORMED = "malformed"


class Observation(Record):
    """What a tool gave back."""

    text: str
    """Text as shown to the model, with `<image>` where a picture stands."""
    images: tuple[ImageRef, ...] = ()
    """Pictures in the order of their markers."""
    status: ObservationStatus = ObservationStatus.OK
    """Whether the call did what it asked for."""
    error_class: str = ""
    """Name of the exception, such as ZeroDivisionError; empty where there is none."""
    num_dropped_chars: int = 0
    """Characters of output that were cut off, visibly."""


class Turn(Record):
    """One assistant message and the observation that answers it."""

    text: str
    """What the policy wrote in this turn, verbatim, without the pre-fill."""
    prefill: str = ""
    """What was written for the policy at the start of the turn, such as `<think>`."""
    action: Action
    """What the turn asks for."""
    observation: Observation | None = None
    """Absent on the last turn."""
    num_tokens: int = 0
    """Tokens that the policy wrote in this turn."""


class Trajectory(Record):
    """A finished episode."""

    trajectory_id: str
    """Digest of stage, policy, sample, mode and attempt."""
    sample_id: str
    """The sample that was asked."""
    stage: str
    """The stage that ran the episode."""
    policy: str
    """Who acted: content id of the checkpoint, or `scripted:...`, or a server's model name."""
    mode: str
    """direct, think or agent."""
    protocol: str
    """direct, deepeyesv2 or deepeyesv2_plus."""
    attempt: int
    """Number of the attempt at this sample, from 0."""
    seed: int
    """Seed of the episode's own generator."""
    system: str
    """The system prompt, as rendered; empty where there is none."""
    prompt: str
    """The user message, with `<image>` where a picture stands."""
    images: tuple[ImageRef, ...] = ()
    """The question's pictures."""
    turns: tuple[Turn, ...]
    """Turns in order; at least one unless the episode ended as INFRASTRUCTURE."""
    stop_reason: StopReason
    """How it ended."""
    failure: str = ""
    """INFRASTRUCTURE: the error text; else empty."""
    answer: str | None = None
    """The extracted answer; absent where there is none."""
    verdict: Verdict | None = None
    """Absent where nobody has graded it yet."""

    @property
    def num_calls(self) -> int:
        """Tool calls made, failed ones included."""
        return sum(isinstance(turn.action, ToolCall) for turn in self.turns)

    @property
    def num_failed_calls(self) -> int:
        """Calls whose observation is an error of the model's making."""
        return sum(
            turn.observation is not None and turn.observation.status is not ObservationStatus.OK
            for turn in self.turns
            if isinstance(turn.action, ToolCall)
        )

    @property
    def num_tokens(self) -> int:
        """Tokens that the policy wrote."""
        return sum(turn.num_tokens for turn in self.turns)
