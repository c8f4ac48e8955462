"""Rollouts: episodes sampled from the policy in training, graded and rewarded."""

import asyncio
import logging
import random
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

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
from agentic_vlm.training.episode_files import read_episodes, write_episodes
from agentic_vlm.training.host_memory import release_freed_memory
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.resume import text_digest
from agentic_vlm.training.stored_images import DecodedPictures, File, store_images

logger = logging.getLogger(__name__)

_SEARCHES = ("search", "image_search")
_MAX_DECODED_BYTES = 256 * 2**20
"""Decoded pictures of finished episodes that are held at a time, about 64 of a million pixels."""


class Pictures(Protocol):
    """Decodes pictures of the image store."""

    def get(self, picture: ImageRef) -> Image.Image:
        """Return the picture at original size."""
        ...


@dataclass(frozen=True, slots=True)
class RewardedEpisode:
    """One member of a group."""

    episode: Episode
    sample: CuratedSample
    group_id: str
    parts: RewardParts | None
    """Absent where infrastructure failed: no reward, and left out of its group."""
    policy_version: int
    """Updates that the weights which sampled it had seen."""

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
        on_sampled: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the parts; `samples` are the RL pool by id, `seed` is the root of all episodes.

        Without a judge, what the rules leave open has no reward. `on_sampled` is called when
        episodes have ended, before anything else is computed.
        """
        self.on_sampled = on_sampled
        self._judge = judge or NoJudge()
        self.policy, self.kit, self.loop = policy, kit, loop
        self.renderer = renderer
        self._samples, self._pictures = samples, pictures
        self._params, self._grading, self._seed = params, grading, seed
        self._decoded = DecodedPictures(max_bytes=_MAX_DECODED_BYTES)
        self.kept: Path | None = None
        """Where finished rollouts wait until a checkpoint has their update; absent where they are
        not kept."""

    def digest(self) -> str:
        """Return a digest of the samples that episodes are run on."""
        return text_digest(self._samples[name].model_dump_json() for name in sorted(self._samples))

    def roll(
        self, sample_ids: Sequence[str], *, step: int, version: int | None = None
    ) -> list[RewardedEpisode]:
        """Run one episode per entry; entries of one sample are a group, numbered in order.

        Args:
            sample_ids: what is asked about.
            step: optimiser updates before the one that they are for.
            version: updates that the weights of the policy have seen; absent for `step`.
        """
        seen: dict[str, int] = {}
        tasks = []
        for sample_id in sample_ids:
            number = seen.get(sample_id, 0)
            seen[sample_id] = number + 1
            tasks.append(self._task(sample_id, attempt=step * self._params.group_size + number))
        episodes, version = self._episodes(tasks, step, step if version is None else version)
        self.on_sampled()
        release_freed_memory()
        return self.loop.run(self._reward_all(tasks, episodes, step, version))

    def roll_held_out(self, sample_ids: Sequence[str], *, step: int) -> list[RewardedEpisode]:
        """Run one episode per sample as in training; nothing of them is kept for an update."""
        tasks = [self._task(sample_id, attempt=step) for sample_id in sample_ids]
        episodes = self._run(tasks)
        self.on_sampled()
        return self.loop.run(self._reward_all(tasks, episodes, step, step))

    async def _reward_all(
        self, tasks: Sequence[EpisodeTask], episodes: Sequence[Episode], step: int, version: int
    ) -> list[RewardedEpisode]:
        return await asyncio.gather(
            *(
                self._reward(episode, self._samples[task.sample_id], step, version)
                for task, episode in zip(tasks, episodes, strict=True)
            )
        )

    def other_samples(self, taken: Collection[str], *, step: int, number: int) -> list[str]:
        """Return samples that a step has not used, in an order that the step fixes."""
        order = random.Random(f"{self._seed} {step}")
        rest = sorted(set(self._samples) - set(taken))
        return order.sample(rest, min(number, len(rest)))

    def drop_kept(self, *, before: int) -> None:
        """Delete the kept rollouts of steps that a checkpoint has the update of."""
        for folder in [] if self.kept is None else self.kept.glob("*-*"):
            if int(folder.name.split("-")[0]) < before:
                # Another process may be at it too.
                shutil.rmtree(folder, ignore_errors=True)

    def _episodes(
        self, tasks: Sequence[EpisodeTask], step: int, version: int
    ) -> tuple[list[Episode], int]:
        """Run the tasks, or read their episodes where a killed run left them.

        Returns:
            the episodes, and the version of the weights that wrote them.
        """
        names = text_digest(f"{task.sample_id} {task.attempt}" for task in tasks)
        for folder in [] if self.kept is None else self.kept.glob(f"{step}-*-{names}"):
            found = read_episodes(
                folder, placeholders=self.renderer.placeholders, decoded=self._decoded
            )
            return found, int(folder.name.split("-")[1])
        episodes = self._run(tasks)
        if self.kept is not None and all(episode.context is not None for episode in episodes):
            write_episodes(self.kept / f"{step}-{version}-{names}", episodes)
        return episodes, version

    def _run(self, tasks: Sequence[EpisodeTask]) -> list[Episode]:
        return self.loop.run(
            run_batch(
                tasks,
                policy=self.policy,
                kit=self.kit,
                renderer=self.renderer,
                temperature=self._params.temperature,
                on_episode=self._store,
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
        return self._decoded.get(ref.sha256, partial(self._pictures.get, ref))

    def _store(self, task: EpisodeTask, episode: Episode) -> None:
        """Let a finished episode give up its decoded pictures."""
        refs = task.image_refs
        prompt = [File(ref.sha256, partial(self._pictures.get, ref)) for ref in refs]
        store_images(episode, prompt, self._decoded)

    async def _reward(
        self, episode: Episode, sample: CuratedSample, step: int, version: int
    ) -> RewardedEpisode:
        trajectory = episode.trajectory
        group_id = content_id(str(step), sample.sample_id)
        if trajectory.stop_reason is StopReason.INFRASTRUCTURE:
            return RewardedEpisode(episode, sample, group_id, None, version)
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
            return RewardedEpisode(episode, sample, group_id, None, version)
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
        if parts.total is not None:
            total = parts.total - self._length_penalty(trajectory.num_tokens)
            parts = parts._replace(total=total)
        episode = Episode(graded, episode.context, episode.pictures, episode.timings)
        return RewardedEpisode(episode, sample, group_id, parts, version)

    def _length_penalty(self, num_tokens: int) -> float:
        """Return what a long rollout loses, 0 to 1. Source: DAPO, arXiv 2503.14476, equation 13."""
        soft, hard = self._params.soft_limit_tokens, self._params.hard_limit_tokens
        if soft is None or hard is None:
            return 0.0
        return min(max((num_tokens - soft) / (hard - soft), 0.0), 1.0)


def make_record(rollout: RewardedEpisode, *, step: int, advantage: float | None) -> Rollout:
    """Return the row that is written to data/rollouts."""
    context = rollout.episode.context
    if context is None:
        raise ValueError("a rollout needs its tokens")
    parts = rollout.parts
    return Rollout(
        trajectory=rollout.episode.trajectory,
        step=step,
        policy_version=rollout.policy_version,
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
