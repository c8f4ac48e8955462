"""The web application: models, health, and chat completions with the agent behind them."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.errors import AgenticError
from agentic_vlm.params import AgentParams, Params
from agentic_vlm.schema import ProbeMode, StopReason
from agentic_vlm.serve.access import check_access
from agentic_vlm.serve.conversation import read_question
from agentic_vlm.serve.episodes import Ask, finish_episode, make_task, tell_episode
from agentic_vlm.serve.faults import (
    NoSuchModel,
    OutOfOrder,
    RequestRefused,
    TooLarge,
    TooSlow,
    error_body,
)
from agentic_vlm.serve.limits import Gate, Limits
from agentic_vlm.serve.wire import (
    ChatRequest,
    FinishReason,
    Stamp,
    Usage,
    chunk_body,
    completion_body,
    parse_request,
    usage_chunk,
)

logger = logging.getLogger(__name__)
_DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Service:
    """What the application serves."""

    runtime: Runtime
    """Model and tools."""
    params: Params
    """Limits of the loop and of pictures."""
    model: str
    """Name under which clients ask for it."""
    limits: Limits
    """Limits of requests."""
    key: str | None = None
    """What clients must send; absent where only this machine may ask."""
    gate: Gate = field(init=False)
    """How many are inside."""
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    """Number of the next request."""

    def __post_init__(self) -> None:
        """Open the gate."""
        self.gate = Gate(self.limits)


def create_app(service: Service) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="agentic-vlm", docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(RequestRefused)
    async def refuse(request: Request, fault: RequestRefused) -> Response:
        headers = {"Retry-After": "5"} if fault.status == 429 else None
        return JSONResponse(fault.body(), status_code=fault.status, headers=headers)

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {"status": "ok", "running": service.gate.num_inside}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, object]:
        check_access(_as_json(request), key=service.key)
        card = {"id": service.model, "object": "model", "created": 0, "owned_by": "agentic-vlm"}
        return {"object": "list", "data": [card]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        check_access(request.headers, key=service.key)
        asked = parse_request(_parse_json(await _read_body(request, service.limits)))
        ask = await asyncio.to_thread(_make_ask, asked, service)
        if asked.stream:
            return StreamingResponse(
                _stream(ask, asked, service),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            )
        return await _complete(ask, request, service)

    return app


def _as_json(request: Request) -> Mapping[str, str]:
    # A GET has no body whose type could be declared.
    return {**request.headers, "content-type": "application/json"}


async def _read_body(request: Request, limits: Limits) -> bytes:
    """Read the body, and no more of it than is allowed."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limits.max_body_bytes:
            what = f"more than {limits.max_body_bytes} bytes"
            raise TooLarge("body", what, "send smaller or fewer pictures")
        pieces.append(piece)
    return b"".join(pieces)


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise RequestRefused("body", f"no JSON: {fault}", "send a JSON object") from fault


def _make_ask(asked: ChatRequest, service: Service) -> Ask:
    if asked.model != service.model:
        what = f"there is no model {asked.model!r} here"
        raise NoSuchModel("model", what, f"ask for {service.model!r}")
    return Ask(
        question=read_question(asked.messages, limits=service.limits, vision=service.params.vision),
        mode=ProbeMode.AGENT if asked.mode == "agent" else ProbeMode.DIRECT,
        temperature=asked.temperature,
        seed=asked.seed,
        agent=_agent_params(asked, service.params.agent),
        number=next(service.numbers),
        thinks=asked.mode == "think",
    )


def _agent_params(asked: ChatRequest, own: AgentParams) -> AgentParams:
    """Return the limits and tools of one request: never more than the server's own."""
    tools = own.tools
    if asked.agent_tools is not None:
        unknown = [tool for tool in asked.agent_tools if tool not in own.tools]
        if unknown or not asked.agent_tools:
            what = f"{', '.join(unknown) or 'none'} cannot be chosen"
            fix = f"choose among {', '.join(own.tools)}, or ask with mode direct"
            raise RequestRefused("agent_tools", what, fix)
        tools = tuple(tool for tool in own.tools if tool in asked.agent_tools)
    wanted = asked.max_completion_tokens or asked.max_tokens or own.max_turn_tokens
    most = min(own.max_turn_tokens, wanted)
    return own.model_copy(update={"tools": tools, "max_turn_tokens": most})


async def _complete(ask: Ask, request: Request, service: Service) -> Response:
    """Answer at once; a client that hangs up ends its episode."""
    task = make_task(ask)
    working = asyncio.create_task(_finish(ask, service))
    gone = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            logger.info("episode %s: the client hung up", task.sample_id)
            # Nobody reads it.
            return Response(status_code=499)
        reasoning, episode = working.result()
    finally:
        for pending in (working, gone):
            pending.cancel()
        await asyncio.wait({working, gone})
    _check_backend(episode)
    stamp = Stamp.of(episode.trajectory.trajectory_id, service.model)
    body = completion_body(
        stamp,
        answer=_answer(episode),
        reasoning=reasoning,
        finish=_finish_reason(episode),
        usage=_usage(episode),
    )
    return JSONResponse(body)


async def _finish(ask: Ask, service: Service) -> tuple[str, Episode]:
    try:
        async with asyncio.timeout(service.limits.deadline_s), service.gate.enter():
            return await finish_episode(ask, make_task(ask), service.runtime)
    except TimeoutError as fault:
        raise _too_slow(service) from fault


async def _hung_up(request: Request) -> None:
    # The body has been read, so the next message can only be the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(ask: Ask, asked: ChatRequest, service: Service) -> AsyncGenerator[bytes, None]:
    """Yield the turns as they come, then the answer; faults come as an event of their own."""
    task = make_task(ask)
    stamp = Stamp.of(task.episode_id(service.runtime.policy.policy_id), service.model)
    yield _event(chunk_body(stamp, {"role": "assistant", "content": ""}))
    try:
        async with (
            asyncio.timeout(service.limits.deadline_s),
            service.gate.enter(),
            aclosing(tell_episode(ask, task, service.runtime)) as pieces,
        ):
            async for piece in pieces:
                if isinstance(piece, Episode):
                    for event in _last_events(piece, stamp, asked):
                        yield event
                else:
                    yield _event(chunk_body(stamp, {"reasoning_content": piece.text}))
    except TimeoutError:
        yield _event(_too_slow(service).body())
    except RequestRefused as fault:
        yield _event(fault.body())
    except AgenticError as fault:
        logger.error("episode %s failed: %s", task.sample_id, fault)
        yield _event(error_body(fault.what, kind="server_error", code="failed"))
    yield _DONE


def _last_events(episode: Episode, stamp: Stamp, asked: ChatRequest) -> list[bytes]:
    _check_backend(episode)
    events = [
        _event(chunk_body(stamp, {"content": _answer(episode)})),
        _event(chunk_body(stamp, {}, finish=_finish_reason(episode))),
    ]
    if asked.stream_options.include_usage:
        events.append(_event(usage_chunk(stamp, _usage(episode))))
    return events


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _check_backend(episode: Episode) -> None:
    """Raise where the model itself failed: tools that fail have been told to the model."""
    if episode.trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        logger.error("the model failed: %s", episode.trajectory.failure)
        raise OutOfOrder("model", "it did not answer", "try again later")


def _too_slow(service: Service) -> TooSlow:
    what = f"no answer within {service.limits.deadline_s:g} s"
    return TooSlow("server", what, "ask for less, or raise --deadline-s")


def _answer(episode: Episode) -> str:
    """Return the answer, or the last turn of an episode that gave none."""
    found = episode.trajectory
    if found.answer is not None:
        return found.answer
    return found.turns[-1].text if found.turns else ""


def _finish_reason(episode: Episode) -> FinishReason:
    return "length" if episode.trajectory.stop_reason.is_truncated else "stop"


def _usage(episode: Episode) -> Usage:
    read = 0 if episode.context is None else len(episode.context.prompt_ids)
    wrote = episode.trajectory.num_tokens
    return Usage(prompt_tokens=read, completion_tokens=wrote, total_tokens=read + wrote)
