"""run_batch: many episodes at once; one failure never kills the rest."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agentic_vlm.agent.episode import run_episode
from agentic_vlm.agent.prompt import build_prompt
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.state import Episode, EpisodeState, finish
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import Policy
from agentic_vlm.params import AgentParams
from agentic_vlm.schema import StopReason
from agentic_vlm.store.latencies import Latency, log_latencies
from agentic_vlm.tools.toolbox import Toolbox, Toolkit

logger = logging.getLogger(__name__)

OnEpisode = Callable[[EpisodeTask, Episode], None]
"""Called once per finished episode, in order of completion."""


@dataclass(frozen=True, slots=True)
class _Runner:
    policy: Policy
    kit: Toolkit
    renderer: Renderer | None
    temperature: float
    backoff_s: float

    async def run(self, task: EpisodeTask) -> Episode:
        """Run a task, again from the same prompt with the same seed after an outage of ours."""
        params = self.kit.agent
        for retry in range(params.max_infrastructure_retries + 1):
            if retry:
                await asyncio.sleep(self.backoff_s * 2 ** (retry - 1))
            try:
                episode = await self._attempt(task)
            except Exception as fault:
                # A fault of ours in one episode, such as an ExactnessError, is recorded with its
                # traceback and the episode is left out; trying again would meet it again.
                logger.exception("episode %s failed", task.episode_id(self.policy.policy_id))
                return _failed(task, self.policy.policy_id, params, fault)
            _log_calls(episode)
            if episode.trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
                break
        return episode

    async def _attempt(self, task: EpisodeTask) -> Episode:
        toolbox = Toolbox.for_episode(self.kit, images=task.images, seed=task.seed)
        return await run_episode(
            task,
            policy=self.policy,
            toolbox=toolbox,
            renderer=self.renderer,
            params=self.kit.agent,
            temperature=self.temperature,
        )


async def run_batch(
    tasks: Sequence[EpisodeTask],
    *,
    policy: Policy,
    kit: Toolkit,
    renderer: Renderer | None,
    temperature: float,
    on_episode: OnEpisode | None = None,
    backoff_s: float = 0.5,
) -> list[Episode]:
    """Run every task and return the episodes in the order of the tasks.

    At most `agent.max_concurrent` episodes run at a time. The policy is told of an episode before
    the one that makes room for it is done, so that a policy which waits for all announced episodes
    forms the same batches in every run.

    Args:
        tasks: what to run; ids must differ.
        policy: who acts.
        kit: what the tools of all episodes share, and the agent params.
        renderer: makes token ids; absent for policies that take text.
        temperature: of sampling.
        on_episode: takes each episode as it ends, to write it to parts.
        backoff_s: pause before the first retry after an outage; doubles each time.
    """
    runner = _Runner(policy, kit, renderer, temperature, backoff_s)
    episodes: list[Episode | None] = [None] * len(tasks)
    queue = iter(enumerate(tasks))
    num_workers = min(kit.agent.max_concurrent, len(tasks))
    policy.expect(num_workers)

    async def work(first: tuple[int, EpisodeTask]) -> None:
        turn: tuple[int, EpisodeTask] | None = first
        while turn is not None:
            index, task = turn
            episodes[index] = episode = await runner.run(task)
            if on_episode is not None:
                on_episode(task, episode)
            turn = _next(queue, policy, done=task)

    firsts = [next(queue) for _ in range(num_workers)]
    async with asyncio.TaskGroup() as group:
        for first in firsts:
            group.create_task(work(first))
    return [episode for episode in episodes if episode is not None]


def _next(
    queue: Iterator[tuple[int, EpisodeTask]], policy: Policy, *, done: EpisodeTask
) -> tuple[int, EpisodeTask] | None:
    following = next(queue, None)
    if following is not None:
        policy.expect(1)
    policy.done(done.episode_id(policy.policy_id))
    return following


def _log_calls(episode: Episode) -> None:
    """Log every try: what a try that ended in an outage took and cost was spent all the same."""
    calls = (
        Latency(call.turn, call.tool, call.latency_s, call.cost_usd) for call in episode.timings
    )
    log_latencies(episode.trajectory.trajectory_id, calls)


def _failed(task: EpisodeTask, policy_id: str, params: AgentParams, fault: Exception) -> Episode:
    prompt = build_prompt(task.question, num_images=len(task.images), mode=task.mode, params=params)
    state = EpisodeState([], [], None, failure=f"{type(fault).__name__}: {fault}")
    return finish(
        task,
        state,
        StopReason.INFRASTRUCTURE,
        prompt=prompt,
        policy_id=policy_id,
        protocol=params.protocol,
    )
