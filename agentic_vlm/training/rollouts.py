"""Rollouts: episodes sampled from the policy in training, graded and rewarded."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from PIL import Image

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.backends.base import Policy
from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading import Judge, NoJudge, RewardParts, compute_reward, grade_with_judge
from agentic_vlm.params import GradingParams, TrainRlParams
from agentic_vlm.schema import (
    CuratedSample,
    ImageRef,
    ProbeMode,
    Rollout,
    StopReason,
    ToolCall,
    Verdict,
    content_id,
)
from agentic_vlm.tools.toolbox import Toolkit

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SEARCHES = ("search", "image_search")


class Pictures(Protocol):
    """Decodes pictures of the image store."""

    def get(self, picture: ImageRef) -> Image.Image:
        """Return the picture at original size."""
        ...


class LoopThread:
    """An event loop that lives as long as the training, so that tools stay open between steps."""

    def __init__(self) -> None:
        """Start the loop in a thread of its own."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="episodes", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine in the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


@dataclass(frozen=True, slots=True)
class RewardedEpisode:
    """One member of a group."""

    episode: Episode
    sample: CuratedSample
    group_id: str
    parts: RewardParts | None
    """Absent where infrastructure failed: no reward, and left out of its group."""

    @property
    def reward(self) -> float | None:
        """The reward; absent where it is left out."""
        return None if self.parts is None else self.parts.total


class Roller:
    """Samples the rollouts of a step."""

    def __init__(
        self,
        policy: Policy,
        *,
        renderer: Renderer,
        kit: Toolkit,
        loop: LoopThread,
        samples: Mapping[str, CuratedSample],
        pictures: Pictures,
        params: TrainRlParams,
        grading: GradingParams,
        seed: int,
        judge: Judge | None = None,
    ) -> None:
        """Keep the parts; `samples` are the RL pool by id, `seed` is the root of all episodes.

        Without a judge, what the rules leave open has no reward.
        """
        self._judge = judge or NoJudge()
        self.policy, self.kit, self.loop = policy, kit, loop
        self.renderer = renderer
        self._samples, self._pictures = samples, pictures
        self._params, self._grading, self._seed = params, grading, seed
        self._decoded: dict[str, Image.Image] = {}

    def roll(self, sample_ids: Sequence[str], *, step: int) -> list[RewardedEpisode]:
        """Run one episode per entry; entries of one sample are a group, numbered in order."""
        seen: dict[str, int] = {}
        tasks = []
        for sample_id in sample_ids:
            number = seen.get(sample_id, 0)
            seen[sample_id] = number + 1
            tasks.append(self._task(sample_id, attempt=step * self._params.group_size + number))
        episodes = self.loop.run(
            run_batch(
                tasks,
                policy=self.policy,
                kit=self.kit,
                renderer=self.renderer,
                temperature=self._params.temperature,
            )
        )
        return self.loop.run(self._reward_all(tasks, episodes, step))

    async def _reward_all(
        self, tasks: Sequence[EpisodeTask], episodes: Sequence[Episode], step: int
    ) -> list[RewardedEpisode]:
        return await asyncio.gather(
            *(
                self._reward(episode, self._samples[task.sample_id], step)
                for task, episode in zip(tasks, episodes, strict=True)
            )
        )

    def _task(self, sample_id: str, *, attempt: int) -> EpisodeTask:
        sample = self._samples[sample_id]
        mode = ProbeMode.AGENT
        return EpisodeTask(
            sample_id=sample_id,
            question=sample.question,
            images=tuple(self._decode(ref) for ref in sample.images),
            image_refs=sample.images,
            mode=mode,
            attempt=attempt,
            seed=episode_seed(self._seed, sample_id=sample_id, mode=mode, attempt=attempt),
            stage="train_rl",
        )

    def _decode(self, ref: ImageRef) -> Image.Image:
        if ref.sha256 not in self._decoded:
            self._decoded[ref.sha256] = self._pictures.get(ref)
        return self._decoded[ref.sha256]

    async def _reward(self, episode: Episode, sample: CuratedSample, step: int) -> RewardedEpisode:
        trajectory = episode.trajectory
        group_id = content_id(str(step), sample.sample_id)
        if trajectory.stop_reason is StopReason.INFRASTRUCTURE:
            return RewardedEpisode(episode, sample, group_id, None)
        try:
            grade = await grade_with_judge(
                trajectory.answer,
                sample,
                question=sample.question,
                judge=self._judge,
                params=self._grading,
            )
        except JudgeUnavailable as fault:
            # An outage of the judge is ours: never a wrong answer, so no reward at all.
            logger.warning("a rollout has no reward: %s", fault.what)
            return RewardedEpisode(episode, sample, group_id, None)
        verdict = grade.verdict
        graded = trajectory.model_copy(update={"verdict": verdict})
        calls = [turn.action for turn in trajectory.turns if isinstance(turn.action, ToolCall)]
        parts = compute_reward(
            [turn.prefill + turn.text for turn in trajectory.turns],
            verdict=verdict,
            answer=trajectory.answer,
            family=sample.family,
            num_calls=len(calls),
            num_search_calls=sum(call.tool in _SEARCHES for call in calls),
            weights=self._params,
        )
        episode = Episode(graded, episode.context, episode.pictures, episode.timings)
        return RewardedEpisode(episode, sample, group_id, parts)


def leave_out_small_groups(
    rollouts: Sequence[RewardedEpisode], *, min_group: int
) -> list[float | None]:
    """Return rewards, absent in groups with fewer than `min_group` of them: no baseline there."""
    counts: dict[str, int] = {}
    for rollout in rollouts:
        counts[rollout.group_id] = counts.get(rollout.group_id, 0) + (rollout.reward is not None)
    return [
        rollout.reward if counts[rollout.group_id] >= min_group else None for rollout in rollouts
    ]


def make_record(rollout: RewardedEpisode, *, step: int, advantage: float | None) -> Rollout:
    """Return the row that is written to data/rollouts."""
    context = rollout.episode.context
    if context is None:
        raise ValueError("a rollout needs its tokens")
    parts = rollout.parts
    return Rollout(
        trajectory=rollout.episode.trajectory,
        step=step,
        policy_version=step,
        group_id=rollout.group_id,
        prompt_ids=tuple(context.prompt_ids),
        completion_ids=tuple(context.completion_ids),
        loss_mask=tuple(context.loss_mask),
        sampler_logprobs=tuple(context.logprobs),
        reward_accuracy=None if parts is None else parts.accuracy,
        reward_format=0.0 if parts is None else parts.format,
        reward=rollout.reward,
        advantage=advantage,
    )


def is_correct(rollout: RewardedEpisode) -> bool:
    """Tell whether the answer was right."""
    return rollout.episode.trajectory.verdict is Verdict.CORRECT


def step_metrics(rows: Sequence[Rollout]) -> list[dict[str, float]]:
    """Return one mapping of means per step, for the curves."""
    steps: dict[int, list[Rollout]] = {}
    for row in rows:
        steps.setdefault(row.step, []).append(row)
    return [{"step": float(step), **_step_means(steps[step])} for step in sorted(steps)]


def _step_means(rows: Sequence[Rollout]) -> dict[str, float]:
    rewarded = [row for row in rows if row.reward is not None]
    groups: dict[str, set[float]] = {}
    for row in rewarded:
        groups.setdefault(row.group_id, set()).add(row.reward or 0.0)
    return {
        "reward": _mean([row.reward or 0.0 for row in rewarded]),
        "accuracy": _mean([row.reward_accuracy or 0.0 for row in rewarded]),
        "format": _mean([row.reward_format for row in rewarded]),
        "calls": _mean([float(row.trajectory.num_calls) for row in rows]),
        "failed_calls": _mean([float(row.trajectory.num_failed_calls) for row in rows]),
        "tokens": _mean([float(row.trajectory.num_tokens) for row in rows]),
        "flat_groups": _mean([float(len(values) == 1) for values in groups.values()]),
        "left_out": 1.0 - len(rewarded) / len(rows),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
