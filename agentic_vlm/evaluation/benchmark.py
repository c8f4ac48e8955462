"""Answers a benchmark's file item by item, and scores the answers, now or later."""

import hashlib
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.evaluation.controls.catalogue import RunTasks
from agentic_vlm.evaluation.run import STAGE_NAME, grade_trajectories, iter_scores
from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.runs import Journal, RunCard, add_seconds, iter_answers
from agentic_vlm.evaluation.suites import Suite, SuiteItem, to_sample
from agentic_vlm.grading import Judge, Mode
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import (
    ImageRef,
    RawSample,
    ScoredAnswer,
    StopReason,
    Trajectory,
)
from agentic_vlm.store import ImageWriter
from agentic_vlm.vision import decode_image, to_rgb


class Answered(NamedTuple):
    """What a run has asked and got."""

    samples: list[RawSample]
    """Every item, in the order of the file."""
    outages: list[Trajectory]
    """Episodes that an outage of ours ended; they are in no journal."""


class _Asked(NamedTuple):
    item: SuiteItem
    sample: RawSample


async def answer_items(
    suite: Suite,
    path: Path,
    *,
    card: RunCard,
    folder: Path,
    runtime: Runtime,
    journal: Journal,
    images: ImageWriter,
    run_tasks: RunTasks,
) -> Answered:
    """Ask every item that has no answer yet; few pictures are in memory at a time.

    Args:
        suite: the benchmark.
        path: its file or folder.
        card: what the run is.
        folder: of the run.
        runtime: model and tools.
        journal: takes every finished episode at once.
        images: takes the pictures of observations.
        run_tasks: runs some of them, in the ordinary way or under a control.

    Raises:
        RecordError: a row is not of the published form.
        ImageError: a picture is broken.
    """
    finished = {trajectory.trajectory_id for trajectory in iter_answers(folder)}
    answered = Answered([], [])
    tools_s: list[float] = []

    def keep(task: EpisodeTask, episode: Episode) -> None:
        for encoded in episode.pictures.values():
            images.add(encoded)
        journal.add(episode.trajectory)
        tools_s.extend(timing.latency_s for timing in episode.timings)
        if episode.trajectory.stop_reason is StopReason.INFRASTRUCTURE:
            answered.outages.append(episode.trajectory)

    for chunk in _chunks(_iter_asked(suite, path, card.limit), runtime.kit.agent.max_concurrent):
        answered.samples.extend(asked.sample for asked in chunk)
        # Equal items of a benchmark are asked once and counted as often as they stand.
        distinct = {asked.sample.sample_id: asked for asked in chunk}.values()
        tasks = [
            task
            for asked in distinct
            for task in _with_pictures(
                asked,
                [
                    task
                    for task in _tasks(asked.sample, card)
                    if task.episode_id(runtime.policy.policy_id) not in finished
                ],
            )
        ]
        started = time.perf_counter()
        finished |= {task.episode_id(runtime.policy.policy_id) for task in tasks}
        if tasks:
            await run_tasks(tasks, on_episode=keep)
            wall_s = time.perf_counter() - started
            add_seconds(folder, num_episodes=len(tasks), wall_s=wall_s, tools_s=sum(tools_s))
            tools_s.clear()
    return answered


async def score_items(
    suite: Suite,
    trajectories: Iterable[Trajectory],
    samples: Sequence[RawSample],
    *,
    model: str,
    judge: Judge,
    params: GradingParams,
    mode: Mode = Mode.STRICT,
) -> list[ScoredAnswer]:
    """Grade answers that are there already; nothing is asked of the model again."""
    by_id = {sample.sample_id: sample for sample in samples}
    graded = await grade_trajectories(
        list(trajectories), by_id, judge=judge, params=params, mode=mode
    )
    return list(iter_scores(graded, {suite.name: samples}, model=model))


def _iter_asked(suite: Suite, path: Path, limit: int | None) -> Iterator[_Asked]:
    for item in islice(suite.iter_items(path), limit):
        refs = [_reference(encoded, f"item {item.item_id}") for encoded in item.images]
        yield _Asked(item, to_sample(item, refs, suite=suite.name, family=suite.family))


def _reference(encoded: bytes, where: str) -> ImageRef:
    try:
        with Image.open(io.BytesIO(encoded)) as header:
            width, height, kind = header.width, header.height, header.format or ""
    except (OSError, ValueError, Image.DecompressionBombError):
        # The decoder says what is wrong with it.
        broken = decode_image(encoded, where=where)
        width, height, kind = broken.width, broken.height, ""
    return ImageRef(
        sha256=hashlib.sha256(encoded).hexdigest(),
        width_px=width,
        height_px=height,
        media_type=Image.MIME.get(kind, "application/octet-stream"),
    )


def _tasks(sample: RawSample, card: RunCard) -> Iterator[EpisodeTask]:
    """Yield the episodes of an item, still without pictures."""
    for mode in map(RunMode, card.modes):
        for attempt in range(card.num_attempts):
            yield EpisodeTask(
                sample_id=sample.sample_id,
                question=sample.question,
                images=(),
                image_refs=sample.images,
                mode=mode.probe_mode,
                attempt=attempt,
                seed=episode_seed(
                    card.seed, sample_id=sample.sample_id, mode=mode.probe_mode, attempt=attempt
                ),
                stage=STAGE_NAME,
                thinks=mode.thinks,
            )


def _with_pictures(asked: _Asked, tasks: Sequence[EpisodeTask]) -> list[EpisodeTask]:
    """Return the tasks with the pictures of their item, decoded once and only if needed."""
    if not tasks:
        return []
    where = f"item {asked.item.item_id}"
    images = tuple(to_rgb(decode_image(encoded, where=where)) for encoded in asked.item.images)
    return [replace(task, images=images) for task in tasks]


def _chunks(asked: Iterator[_Asked], size: int) -> Iterator[list[_Asked]]:
    while chunk := list(islice(asked, size)):
        yield chunk
