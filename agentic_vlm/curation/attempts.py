"""Runs the attempts of the probe, round by round, so that a crash costs one chunk at most."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.curation.schedule import Attempt, Schedule, chunks_of
from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading import Judge, NoJudge, grade_with_judge
from agentic_vlm.params import GradingParams, Params
from agentic_vlm.schema import CuratedSample, Probe, StopReason, Trajectory, Verdict
from agentic_vlm.store import ImageStore, ImageWriter, Parts

logger = logging.getLogger(__name__)

# Chunks are a function of the decisions so far, never of what a crash left: a resumed run forms
# the same batches as one that was not interrupted.
_CHUNK = 256


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
    """
    judge = judge or NoJudge()
    finished = {probe_id(probe): probe for probe in work.probes}
    while attempts := schedule.next_round():
        for chunk in chunks_of(attempts, _CHUNK):
            known = [finished.get(f"{a.sample_id} {a.mode} {a.number}") for a in chunk]
            probes = [probe for probe in known if probe is not None]
            if len(probes) < len(chunk):
                tasks = [_task(attempt, samples, store, params.seed) for attempt in chunk]
                probes = await _run_chunk(tasks, samples, runtime, work, params, judge)
            for probe in probes:
                schedule.record(probe.sample_id, probe.mode, probe.verdict)
            on_done(len(probes))


async def _run_chunk(
    tasks: list[EpisodeTask],
    samples: Mapping[str, CuratedSample],
    runtime: Runtime,
    work: ProbeWork,
    params: Params,
    judge: Judge,
) -> list[Probe]:
    episodes = await run_batch(
        tasks,
        policy=runtime.policy,
        kit=runtime.kit,
        renderer=runtime.renderer,
        temperature=params.probe.temperature,
    )
    probes = await asyncio.gather(
        *(
            _to_probe(
                task, episode.trajectory, samples[task.sample_id], params.grading, judge=judge
            )
            for task, episode in zip(tasks, episodes, strict=True)
        )
    )
    work.add(list(zip(probes, episodes, strict=True)))
    return probes


def _task(
    attempt: Attempt, samples: Mapping[str, CuratedSample], store: ImageStore, root_seed: int
) -> EpisodeTask:
    sample = samples[attempt.sample_id]
    seed = episode_seed(
        root_seed, sample_id=sample.sample_id, mode=attempt.mode, attempt=attempt.number
    )
    return EpisodeTask(
        sample_id=sample.sample_id,
        question=sample.question,
        images=tuple(store.get(ref) for ref in sample.images),
        image_refs=sample.images,
        mode=attempt.mode,
        attempt=attempt.number,
        seed=seed,
        stage="probe",
    )


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
