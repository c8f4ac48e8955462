"""Runs the attempts of the probe in chunks, so that a crash costs one of them at most."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.curation.schedule import Attempt, Schedule
from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading import Judge, NoJudge, grade_with_judge
from agentic_vlm.params import GradingParams, Params
from agentic_vlm.schema import CuratedSample, Probe, StopReason, Trajectory, Verdict
from agentic_vlm.store import ImageStore, ImageWriter, Parts

logger = logging.getLogger(__name__)

# Chunks are a function of the decisions so far, never of what a crash left: a resumed run forms
# the same batches as one that was not interrupted. Prompts that were kept from chunks before the
# crash are read again, equal but for rounding.
ATTEMPTS_PER_CHUNK = 256
"""Attempts that one process makes and keeps together."""


class ProbeWork:
    """Finished attempts on disk: probes, their trajectories and the pictures of observations."""

    def __init__(self, scratch: Path, images: Path) -> None:
        """Open the folders; `images` is where the pictures go in the end."""
        self.probes = Parts(scratch / "probes", Probe, row_id=probe_id)
        self.trajectories = Parts(
            scratch / "trajectories", Trajectory, row_id=lambda row: row.trajectory_id
        )
        self.images = ImageWriter(images, spool=scratch / "images.spool")

    def add(self, rows: Sequence[tuple[Probe, Episode]]) -> None:
        """Keep a chunk; the probes go last, since they say that it is finished."""
        for _, episode in rows:
            for encoded in episode.pictures.values():
                self.images.add(encoded)
        self.trajectories.append(episode.trajectory for _, episode in rows)
        self.probes.append(probe for probe, _ in rows)


def probe_id(probe: Probe) -> str:
    """Return what tells attempts apart."""
    return f"{probe.sample_id} {probe.mode} {probe.attempt}"


async def run_attempts(
    schedule: Schedule,
    samples: Mapping[str, CuratedSample],
    *,
    runtime: Runtime,
    store: ImageStore,
    work: ProbeWork,
    params: Params,
    on_done: Callable[[int], None],
    judge: Judge | None = None,
) -> None:
    """Make every attempt that the schedule asks for; finished ones are taken from `work`.

    Args:
        schedule: names the attempts and takes their verdicts.
        samples: by id.
        runtime: the base policy and the tools.
        store: pictures of the samples.
        work: where finished attempts are kept.
        params: seed, probe and grading.
        on_done: told how many attempts were finished.
        judge: decides what the rules leave open; absent: they stay open.

    Raises:
        BackendUnavailable: the server of the policy is lost; finished attempts are kept.
    """
    prober = _Prober(samples, runtime, store, work, params, judge or NoJudge(), on_done)
    finished = {probe_id(probe): probe for probe in work.probes}
    make = prober.make_chunks if runtime.server is None else prober.make_each
    await make(schedule, finished)


@dataclass(frozen=True, slots=True)
class _Prober:
    samples: Mapping[str, CuratedSample]
    runtime: Runtime
    store: ImageStore
    work: ProbeWork
    params: Params
    judge: Judge
    on_done: Callable[[int], None]

    async def make_chunks(self, schedule: Schedule, finished: Mapping[str, Probe]) -> None:
        """Make attempts in chunks, each of which is kept as a whole."""
        while chunk := schedule.next_attempts(ATTEMPTS_PER_CHUNK):
            known = [finished.get(_name(attempt)) for attempt in chunk]
            probes = [probe for probe in known if probe is not None]
            if len(probes) < len(chunk):
                probes = await self._make(chunk)
            self._record(probes, schedule)

    async def make_each(self, schedule: Schedule, finished: Mapping[str, Probe]) -> None:
        """Make attempts with a server, which forms its own batches; each is kept at once."""
        most = self.params.agent.max_concurrent
        running: set[asyncio.Task[list[Probe]]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._is_lost():
                attempts = schedule.next_attempts(most - len(running))
                known = [finished[name] for name in map(_name, attempts) if name in finished]
                self._record(known, schedule)
                running |= {
                    group.create_task(self._make([attempt]))
                    for attempt in attempts
                    if _name(attempt) not in finished
                }
                if known:
                    continue
                if not running:
                    break
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._record(task.result(), schedule)
        self.runtime.check_lost()

    def _record(self, probes: Sequence[Probe], schedule: Schedule) -> None:
        for probe in probes:
            schedule.record(probe.sample_id, probe.mode, probe.verdict)
        self.on_done(len(probes))

    async def _make(self, attempts: Sequence[Attempt]) -> list[Probe]:
        tasks = self._tasks(attempts)
        episodes = await run_batch(
            tasks,
            policy=self.runtime.policy,
            kit=self.runtime.kit,
            renderer=self.runtime.renderer,
            temperature=self.params.probe.temperature,
        )
        grading = self.params.grading
        probes = await asyncio.gather(
            *(
                _to_probe(
                    task,
                    episode.trajectory,
                    self.samples[task.sample_id],
                    grading,
                    judge=self.judge,
                )
                for task, episode in zip(tasks, episodes, strict=True)
            )
        )
        rows = list(zip(probes, episodes, strict=True))
        # What the loss of the server ended is made again by the next run.
        self.work.add([row for row in rows if not (self._is_lost() and _has_failed(row[0]))])
        return probes

    def _tasks(self, attempts: Sequence[Attempt]) -> list[EpisodeTask]:
        """Return the tasks; those of one sample share its pictures."""
        pictures: dict[str, tuple[Image.Image, ...]] = {}
        tasks = []
        for sample_id, mode, number in attempts:
            sample = self.samples[sample_id]
            if sample_id not in pictures:
                pictures[sample_id] = tuple(self.store.get(ref) for ref in sample.images)
            seed = episode_seed(self.params.seed, sample_id=sample_id, mode=mode, attempt=number)
            tasks.append(
                EpisodeTask(
                    sample_id=sample_id,
                    question=sample.question,
                    images=pictures[sample_id],
                    image_refs=sample.images,
                    mode=mode,
                    attempt=number,
                    seed=seed,
                    stage="probe",
                )
            )
        return tasks

    def _is_lost(self) -> bool:
        server = self.runtime.server
        return server is not None and server.lost is not None


def _name(attempt: Attempt) -> str:
    return f"{attempt.sample_id} {attempt.mode} {attempt.number}"


def _has_failed(probe: Probe) -> bool:
    return probe.stop_reason == StopReason.INFRASTRUCTURE.value


async def _to_probe(
    task: EpisodeTask,
    trajectory: Trajectory,
    sample: CuratedSample,
    grading: GradingParams,
    *,
    judge: Judge,
) -> Probe:
    verdict = None
    if trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
        verdict = await _verdict(trajectory, sample, grading, judge=judge)
    return Probe(
        sample_id=task.sample_id,
        mode=task.mode,
        attempt=task.attempt,
        is_needed=True,
        verdict=verdict,
        answer=trajectory.answer,
        stop_reason=trajectory.stop_reason.value,
        num_calls=trajectory.num_calls,
    )


async def _verdict(
    trajectory: Trajectory, sample: CuratedSample, grading: GradingParams, *, judge: Judge
) -> Verdict | None:
    """Return the verdict; None where the judge failed, which says nothing about the answer."""
    try:
        grade = await grade_with_judge(
            trajectory.answer, sample, question=sample.question, judge=judge, params=grading
        )
    except JudgeUnavailable as fault:
        logger.warning("probe: an attempt has no verdict: %s", fault.what)
        return None
    return grade.verdict
