"""Runs a teacher over the cold-start pool: one loop, real tools, chunks that survive a crash."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.backends.base import Policy
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import InfrastructureError
from agentic_vlm.params import OpenAITeacher, Params, ScriptedTeacher
from agentic_vlm.schema import CuratedSample, ProbeMode, Trajectory
from agentic_vlm.store import ImageStore, ImageWriter, Parts
from agentic_vlm.synthesis.teacher import TEACHER_ID, TeacherScript
from agentic_vlm.tools.toolbox import Toolkit

STAGE = "synthesize"
_CHUNK = 128


class SynthesisWork:
    """Finished trajectories on disk, with the pictures of their observations."""

    def __init__(self, scratch: Path, images: Path) -> None:
        """Open the folders; `images` is where the pictures go in the end."""
        self.trajectories = Parts(
            scratch / "trajectories", Trajectory, row_id=lambda row: row.trajectory_id
        )
        self.images = ImageWriter(images, spool=scratch / "images.spool")


def make_tasks(
    samples: Sequence[CuratedSample], *, num_attempts: int, seed: int, store: ImageStore
) -> list[EpisodeTask]:
    """Return one task per sample and attempt; tasks of a sample share its pictures."""
    tasks = []
    for sample in samples:
        images = tuple(store.get(ref) for ref in sample.images)
        for attempt in range(num_attempts):
            tasks.append(
                EpisodeTask(
                    sample_id=sample.sample_id,
                    question=sample.question,
                    images=images,
                    image_refs=sample.images,
                    mode=ProbeMode.AGENT,
                    attempt=attempt,
                    seed=episode_seed(
                        seed, sample_id=sample.sample_id, mode=ProbeMode.AGENT, attempt=attempt
                    ),
                    stage=STAGE,
                )
            )
    return tasks


def build_teacher(params: Params, samples: Sequence[CuratedSample]) -> tuple[Policy, float]:
    """Return the teacher and its sampling temperature.

    Raises:
        InfrastructureError: the teacher is behind a server whose address is not set.
    """
    teacher = params.synthesize.teacher
    match teacher:
        case ScriptedTeacher():
            episodes = _episodes(samples, num_attempts=params.synthesize.num_attempts)
            script = TeacherScript(episodes, params=teacher, seed=params.seed)
            return ScriptedPolicy(script, policy_id=TEACHER_ID), 0.0
        case OpenAITeacher():
            # The client takes a second to import, and the scripted teacher never needs it.
            from agentic_vlm.backends.openai_http import build_openai

            base_url = os.environ.get("AGENTIC_TEACHER_URL", "")
            if not base_url:
                fix = "export AGENTIC_TEACHER_URL=http://HOST:PORT/v1"
                raise InfrastructureError("AGENTIC_TEACHER_URL", "the teacher has no address", fix)
            key = os.environ.get("AGENTIC_TEACHER_KEY", "none")
            return build_openai(teacher.model, base_url=base_url, api_key=key), teacher.temperature


def _episodes(
    samples: Sequence[CuratedSample], *, num_attempts: int
) -> Mapping[str, tuple[CuratedSample, int]]:
    """Return sample and attempt by episode id."""
    episodes = {}
    for sample in samples:
        for attempt in range(num_attempts):
            task = EpisodeTask(
                sample.sample_id, sample.question, (), (), ProbeMode.AGENT, attempt, 0, STAGE
            )
            episodes[task.episode_id(TEACHER_ID)] = (sample, attempt)
    return episodes


async def write_trajectories(
    samples: Sequence[CuratedSample],
    *,
    teacher: Policy,
    temperature: float,
    kit: Toolkit,
    store: ImageStore,
    work: SynthesisWork,
    params: Params,
    on_done: Callable[[int], None],
) -> None:
    """Run every attempt that is not finished yet, whole samples at a time.

    Args:
        samples: the cold-start pool, in a fixed order.
        teacher: who acts.
        temperature: of sampling.
        kit: the tools.
        store: pictures of the samples.
        work: where finished trajectories are kept.
        params: seed and number of attempts.
        on_done: told how many attempts were finished.
    """
    finished = work.trajectories.finished_ids()
    num_attempts = params.synthesize.num_attempts
    size = max(1, _CHUNK // num_attempts)
    for start in range(0, len(samples), size):
        chunk = samples[start : start + size]
        tasks = make_tasks(chunk, num_attempts=num_attempts, seed=params.seed, store=store)
        missing = [task for task in tasks if task.episode_id(teacher.policy_id) not in finished]
        episodes = await run_batch(
            missing, policy=teacher, kit=kit, renderer=None, temperature=temperature
        )
        for episode in episodes:
            for encoded in episode.pictures.values():
                work.images.add(encoded)
        work.trajectories.append(episode.trajectory for episode in episodes)
        on_done(len(tasks))
