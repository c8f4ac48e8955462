"""One episode, told as it happens."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from agentic_vlm.agent.episode import run_episode
from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.backends.base import Completion, Policy, Request, SamplingParams
from agentic_vlm.params import AgentParams
from agentic_vlm.schema import ImageRef, ProbeMode, Role, content_id
from agentic_vlm.serve.conversation import Question
from agentic_vlm.serve.patience import PatientToolbox
from agentic_vlm.vision import encode_png


@dataclass(frozen=True, slots=True)
class Told:
    """A piece of the episode: what the policy wrote in a turn, or what a tool answered."""

    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks of the agent."""

    question: Question
    mode: ProbeMode
    temperature: float
    seed: int
    agent: AgentParams
    """Limits and tools of this request."""
    number: int
    """Tells equal requests apart."""
    thinks: bool = False
    """In direct mode: whether the prompt asks for reasoning before the answer."""


class _Listener:
    """A policy that passes on what another one writes, and what the tools answered it."""

    def __init__(self, policy: Policy, events: asyncio.Queue[Told]) -> None:
        self.policy_id = policy.policy_id
        self._policy = policy
        self._events = events
        self._num_told: int | None = None

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        if self._num_told is not None:
            for message in request.messages[self._num_told :]:
                if message.role is Role.USER:
                    self._events.put_nowait(Told(f"\n{message.text}\n"))
        completion = await self._policy.complete(request, params)
        # The completion is the next message; it is told here.
        self._num_told = len(request.messages) + 1
        self._events.put_nowait(Told(request.assistant_prefix + completion.text))
        return completion

    def expect(self, num_episodes: int) -> None:
        self._policy.expect(num_episodes)

    def done(self, episode_id: str) -> None:
        self._policy.done(episode_id)

    async def close(self) -> None:
        await self._policy.close()


def make_task(ask: Ask) -> EpisodeTask:
    """Return the episode of a request."""
    refs = tuple(
        ImageRef(
            sha256=hashlib.sha256(encode_png(image)).hexdigest(),
            width_px=image.width,
            height_px=image.height,
        )
        for image in ask.question.images
    )
    question = ask.question.text
    sample_id = content_id(question, *(ref.sha256 for ref in refs), str(ask.number))
    return EpisodeTask(
        sample_id=sample_id,
        question=question,
        images=ask.question.images,
        image_refs=refs,
        mode=ask.mode,
        attempt=0,
        seed=episode_seed(ask.seed, sample_id=question, mode=ask.mode, attempt=0),
        stage="serve",
        thinks=ask.thinks,
    )


async def tell_episode(
    ask: Ask, task: EpisodeTask, runtime: Runtime
) -> AsyncGenerator[Told | Episode, None]:
    """Yield the pieces of an episode as they come, and the finished episode last.

    Closing the iterator ends the episode and its tools.
    """
    events: asyncio.Queue[Told] = asyncio.Queue()
    listener = _Listener(runtime.policy, events)
    running = asyncio.create_task(_run(ask, task, runtime, listener))
    try:
        while not running.done() or not events.empty():
            waiting = asyncio.create_task(events.get())
            await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                yield waiting.result()
            else:
                waiting.cancel()
        yield running.result()
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait({running})


async def finish_episode(ask: Ask, task: EpisodeTask, runtime: Runtime) -> tuple[str, Episode]:
    """Return all pieces as one text, and the finished episode."""
    texts: list[str] = []
    async with aclosing(tell_episode(ask, task, runtime)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Episode):
                return "".join(texts), piece
            texts.append(piece.text)
    raise AssertionError("the last piece is the episode")


async def _run(ask: Ask, task: EpisodeTask, runtime: Runtime, policy: Policy) -> Episode:
    policy.expect(1)
    kit = replace(runtime.kit, agent=ask.agent)
    toolbox = PatientToolbox.for_episode(kit, images=task.images, seed=task.seed)
    try:
        return await run_episode(
            task,
            policy=policy,
            toolbox=toolbox,
            renderer=runtime.renderer,
            params=ask.agent,
            temperature=ask.temperature,
        )
    finally:
        policy.done(task.episode_id(policy.policy_id))
