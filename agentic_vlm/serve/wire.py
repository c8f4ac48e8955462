"""The part of OpenAI's chat API that is understood, and the objects that answer it."""

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentic_vlm.serve.faults import RequestRefused

FinishReason = Literal["stop", "length"]


class _Wire(BaseModel):
    # Clients send many fields; those that would change the answer are listed and refused below.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ImageUrl(_Wire):
    """A picture."""

    url: str
    """`data:image/...;base64,...`; other addresses are refused, nothing is fetched."""


class Part(_Wire):
    """A piece of a message."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None


class WireMessage(_Wire):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[Part, ...] | None = None


class StreamOptions(_Wire):
    """How to stream."""

    include_usage: bool = False
    """Send a last chunk with the number of tokens."""


class ChatRequest(_Wire):
    """A request to `/v1/chat/completions`."""

    model: str
    messages: tuple[WireMessage, ...] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    seed: int = Field(default=0, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens of one turn, below `agent.max_turn_tokens`."""
    max_completion_tokens: int | None = Field(default=None, gt=0)
    """Newer name of the same."""
    mode: Literal["agent", "think", "direct"] = "agent"
    """Ours: with the tools, or one turn without them, with reasoning or the answer alone."""
    agent_tools: tuple[Literal["python", "search", "image_search"], ...] | None = None
    """Ours: which of the agent's tools are on offer; absent for all of `agent.tools`."""


# What would change the answer and is not offered; values that mean "no" are let through.
_REFUSED: dict[str, tuple[object, ...]] = {
    "n": (None, 1),
    "tools": (None, []),
    "functions": (None, []),
    "logprobs": (None, False),
    "response_format": (None, {"type": "text"}),
    "audio": (None,),
}


def parse_request(content: object) -> ChatRequest:
    """Return the request of a parsed body.

    Raises:
        RequestRefused: a field is missing, wrong, or asks for what is not offered.
    """
    if not isinstance(content, dict):
        raise RequestRefused("body", "no JSON object", "send a chat completion request")
    # Clients send null for "not set".
    given = {name: value for name, value in content.items() if value is not None}
    for name, harmless in _REFUSED.items():
        if name in given and given[name] not in harmless:
            fix = "leave it out: the agent brings its own tools and gives one answer in text"
            raise RequestRefused(name, "not offered here", fix)
    try:
        return ChatRequest.model_validate(given)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestRefused(where, first["msg"], "see docs/serve.md") from fault


class Usage(BaseModel):
    """Tokens of an episode."""

    prompt_tokens: int
    """Tokens that the policy read, as it saw them first; 0 where the backend does not tell."""
    completion_tokens: int
    """Tokens that the policy wrote, over all turns."""
    total_tokens: int


class Stamp(BaseModel):
    """What every object of one answer carries."""

    id: str
    created: int
    model: str

    @classmethod
    def of(cls, episode_id: str, model: str) -> "Stamp":
        """Return the stamp of an answer that begins now."""
        return cls(id=f"chatcmpl-{episode_id}", created=int(time.time()), model=model)


def completion_body(
    stamp: Stamp, *, answer: str, reasoning: str, finish: FinishReason, usage: Usage
) -> dict[str, Any]:
    """Return the whole answer; `reasoning_content` holds the turns, as vLLM names it."""
    message = {"role": "assistant", "content": answer, "reasoning_content": reasoning}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {
        **stamp.model_dump(),
        "object": "chat.completion",
        "choices": [choice],
        "usage": usage.model_dump(),
    }


def chunk_body(
    stamp: Stamp, delta: dict[str, str], *, finish: FinishReason | None = None
) -> dict[str, Any]:
    """Return one piece of a streamed answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {**stamp.model_dump(), "object": "chat.completion.chunk", "choices": [choice]}


def usage_chunk(stamp: Stamp, usage: Usage) -> dict[str, Any]:
    """Return the last chunk of a stream that asked for the number of tokens."""
    return {
        **stamp.model_dump(),
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": usage.model_dump(),
    }
