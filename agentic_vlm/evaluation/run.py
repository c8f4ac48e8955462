"""Answer the samples of held-out suites with one model, and grade the answers.

A sample that stands in several suites is asked once per mode and counted in each. Episodes run in
chunks of `agent.max_concurrent`, and only whole chunks are kept: the batches of a resumed run are
then those of an uninterrupted one, so that rounding inside a batch cannot tell them apart.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.evaluation.controls.catalogue import RunTasks, tasks_runner
from agentic_vlm.evaluation.judged_groups import is_grouped, judge_groups
from agentic_vlm.evaluation.marking import answer_of, mark_answer, measured_flags
from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.suites.item import flags_of_score
from agentic_vlm.grading import Grade, Judge, Mode, NoJudge
from agentic_vlm.params import GradingParams, Params
from agentic_vlm.schema import (
    RawSample,
    ScoredAnswer,
    StopReason,
    Trajectory,
    Verdict,
)
from agentic_vlm.store import ImageStore, ImageWriter, Parts

STAGE_NAME = "evaluate"
# Episodes whose pictures are decoded at the same time.
_SERVED_CHUNK = 1024


class Ask(NamedTuple):
    """One sample in one mode."""

    sample: RawSample
    mode: RunMode


@dataclass(frozen=True, slots=True)
class Collector:
    """Where finished work goes and whence pictures come."""

    pictures: ImageStore
    """Pictures of the samples."""
    parts: Parts[Trajectory]
    """Finished episodes; survive a crash."""
    images: ImageWriter
    """Pictures of observations; survive a crash if they have a spool."""
    on_done: Callable[[int], None]
    """Told how many more episodes are finished."""

    def keep(self, episodes: Sequence[Episode]) -> None:
        """Keep finished episodes; pictures go first, since a trajectory names them."""
        for episode in episodes:
            for encoded in episode.pictures.values():
                self.images.add(encoded)
        self.parts.append(episode.trajectory for episode in episodes)


def plan_asks(suites: Mapping[str, Sequence[RawSample]], modes: Sequence[RunMode]) -> list[Ask]:
    """Return every distinct sample of the suites in every mode, mode by mode."""
    samples = {sample.sample_id: sample for rows in suites.values() for sample in rows}
    return [Ask(sample, mode) for mode in modes for sample in samples.values()]


async def collect_episodes(
    asks: Sequence[Ask], *, runtime: Runtime, collector: Collector, params: Params
) -> None:
    """Run the asks that are not finished and append their trajectories to the parts.

    Raises:
        ImageError: a picture of a sample is missing or broken.
        BackendUnavailable: the server of the policy is lost; finished episodes are kept.
    """
    if runtime.server is not None:
        await _collect_served(asks, runtime=runtime, collector=collector, params=params)
        return
    finished = collector.parts.finished_ids()
    size = params.agent.max_concurrent
    run_tasks = _runner(runtime, params)
    for start in range(0, len(asks), size):
        chunk = asks[start : start + size]
        # Pictures are decoded chunk by chunk, so that few of them are in memory.
        if all(_episode_id(ask, runtime) in finished for ask in chunk):
            collector.on_done(len(chunk))
            continue
        episodes = await run_tasks(
            [_task(ask, collector.pictures, params.seed) for ask in chunk],
            on_episode=lambda task, episode: collector.on_done(1),
        )
        collector.keep(episodes)


async def _collect_served(
    asks: Sequence[Ask], *, runtime: Runtime, collector: Collector, params: Params
) -> None:
    """The same with a server, which forms its own batches: each episode is kept at once."""
    finished = collector.parts.finished_ids()
    missing = [ask for ask in asks if _episode_id(ask, runtime) not in finished]
    collector.on_done(len(asks) - len(missing))
    for start in range(0, len(missing), _SERVED_CHUNK):
        ended: list[Episode] = []

        def keep(task: EpisodeTask, episode: Episode, ended: list[Episode] = ended) -> None:
            if episode.trajectory.stop_reason is StopReason.INFRASTRUCTURE:
                ended.append(episode)
            else:
                collector.keep([episode])
            collector.on_done(1)

        chunk = missing[start : start + _SERVED_CHUNK]
        await _runner(runtime, params)(
            [_task(ask, collector.pictures, params.seed) for ask in chunk], on_episode=keep
        )
        # What the loss of the server ended is made again by the next run.
        runtime.check_lost()
        collector.keep(ended)


def _runner(runtime: Runtime, params: Params) -> RunTasks:
    return tasks_runner(params.evaluate.control, runtime, temperature=params.evaluate.temperature)


async def grade_trajectories(
    trajectories: Sequence[Trajectory],
    samples: Mapping[str, RawSample],
    *,
    judge: Judge,
    params: GradingParams,
    mode: Mode = Mode.STRICT,
) -> list[tuple[Trajectory, Grade]]:
    """Grade each trajectory and note the answer that counts and the verdict in it, in order.

    A judge is asked about many at once, as far as it allows.

    Args:
        trajectories: finished episodes.
        samples: by id.
        judge: who is asked where rules leave an answer open.
        params: tolerances and time limits.
        mode: whose rules hold for published suites.
    """
    given = [
        row.model_copy(update={"answer": answer_of(row, samples[row.sample_id], mode=mode)})
        for row in trajectories
    ]
    grades = await asyncio.gather(
        *(
            _grade(row, samples[row.sample_id], judge=judge, params=params, mode=mode)
            for row in given
        )
    )
    grades = await judge_groups(grades, given, samples, judge=judge, mode=mode)
    return [
        (row.model_copy(update={"verdict": grade.verdict}), grade)
        for row, grade in zip(given, grades, strict=True)
    ]


def iter_scores(
    graded: Sequence[tuple[Trajectory, Grade]],
    suites: Mapping[str, Sequence[RawSample]],
    *,
    model: str,
) -> Iterator[ScoredAnswer]:
    """Yield one scored answer per suite, sample and mode."""
    by_sample: dict[str, list[tuple[Trajectory, Grade]]] = {}
    for trajectory, grade in graded:
        by_sample.setdefault(trajectory.sample_id, []).append((trajectory, grade))
    for suite, samples in suites.items():
        for sample in samples:
            for trajectory, grade in by_sample[sample.sample_id]:
                yield _score(trajectory, grade, sample, model=model, suite=suite)


def _episode_id(ask: Ask, runtime: Runtime) -> str:
    return _task_of(ask, (), 0).episode_id(runtime.policy.policy_id)


def _task(ask: Ask, pictures: ImageStore, root_seed: int) -> EpisodeTask:
    images = tuple(pictures.get(ref) for ref in ask.sample.images)
    mode = ask.mode.probe_mode
    seed = episode_seed(root_seed, sample_id=ask.sample.sample_id, mode=mode, attempt=0)
    return _task_of(ask, images, seed)


def _task_of(ask: Ask, images: tuple[Image.Image, ...], seed: int) -> EpisodeTask:
    return EpisodeTask(
        sample_id=ask.sample.sample_id,
        question=ask.sample.question,
        images=images,
        image_refs=ask.sample.images,
        mode=ask.mode.probe_mode,
        attempt=0,
        seed=seed,
        stage=STAGE_NAME,
        thinks=ask.mode.thinks,
    )


async def _grade(
    trajectory: Trajectory, sample: RawSample, *, judge: Judge, params: GradingParams, mode: Mode
) -> Grade:
    if trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        return Grade(Verdict.UNGRADED, "infrastructure", trajectory.failure)
    if is_grouped(sample, judge=judge, mode=mode):
        judge = NoJudge()
    try:
        return await mark_answer(trajectory.answer, sample, judge=judge, params=params, mode=mode)
    except JudgeUnavailable as fault:
        return Grade(Verdict.UNGRADED, "unavailable", str(fault))


def _flags(trajectory: Trajectory, grade: Grade, sample: RawSample) -> tuple[str, ...]:
    # Attempts of one sample are told apart by a label; the first one needs none.
    attempt = (f"attempt={trajectory.attempt}",) if trajectory.attempt else ()
    return (*flags_of_score(sample), *measured_flags(trajectory, grade, sample), *attempt)


def _score(
    trajectory: Trajectory, grade: Grade, sample: RawSample, *, model: str, suite: str
) -> ScoredAnswer:
    return ScoredAnswer(
        model=model,
        suite=suite,
        mode=trajectory.mode,
        sample_id=sample.sample_id,
        trajectory_id=trajectory.trajectory_id,
        family=sample.family,
        need=sample.need,
        difficulty=sample.difficulty,
        flags=_flags(trajectory, grade, sample),
        verdict=grade.verdict,
        rule=grade.rule,
        answer=trajectory.answer,
        stop_reason=trajectory.stop_reason.value,
        num_calls=trajectory.num_calls,
        num_failed_calls=trajectory.num_failed_calls,
        num_tokens=trajectory.num_tokens,
    )
