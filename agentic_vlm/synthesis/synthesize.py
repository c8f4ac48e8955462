"""Runs a teacher over the cold-start pool: one loop, real tools, chunks that survive a crash."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.params import Params
from agentic_vlm.schema import CuratedSample, ProbeMode, StopReason, Trajectory
from agentic_vlm.store import ImageStore, ImageWriter, Parts
from agentic_vlm.synthesis.crew import STAGE, Crew, Seat
from agentic_vlm.tools.toolbox import Toolkit

_CHUNK = 128


class SynthesisWork:
    """Finished trajectories on disk, with the pictures of their observations."""

    def __init__(self, scratch: Path, images: Path) -> None:
        """Open the folders; `images` is where the pictures go in the end."""
        self.trajectories = Parts(
            scratch / "trajectories", Trajectory, row_id=lambda row: row.trajectory_id
        )
        self.images = ImageWriter(images, spool=scratch / "images.spool")

    def add(self, episodes: Sequence[Episode]) -> None:
        """Keep finished episodes; pictures go first, since a trajectory names them."""
        for episode in episodes:
            for encoded in episode.pictures.values():
                self.images.add(encoded)
        self.trajectories.append(episode.trajectory for episode in episodes)


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


async def write_trajectories(
    samples: Sequence[CuratedSample],
    *,
    crew: Crew,
    kit: Toolkit,
    store: ImageStore,
    work: SynthesisWork,
    params: Params,
    on_done: Callable[[int], None],
) -> None:
    """Run every attempt that is not finished yet, whole samples at a time.

    Args:
        samples: the cold-start pool, in a fixed order.
        crew: who acts.
        kit: the tools.
        store: pictures of the samples.
        work: where finished trajectories are kept.
        params: seed and number of attempts.
        on_done: told how many attempts were finished.

    Raises:
        InfrastructureError: the budget is spent or a server is lost; what was finished is kept.
    """
    finished = work.trajectories.finished_ids()
    num_attempts = params.synthesize.num_attempts
    size = max(1, _CHUNK // num_attempts)
    for start in range(0, len(samples), size):
        chunk = samples[start : start + size]
        tasks = make_tasks(chunk, num_attempts=num_attempts, seed=params.seed, store=store)
        groups: dict[tuple[int, float], list[EpisodeTask]] = {}
        for task in tasks:
            number, temperature = crew.assign(task.sample_id, task.attempt)
            if task.episode_id(crew.seats[number].policy.policy_id) not in finished:
                groups.setdefault((number, temperature), []).append(task)
        runs = [
            _run_group(group, crew.seats[number], temperature, kit, work, keeps_each=crew.is_paid)
            for (number, temperature), group in groups.items()
        ]
        await asyncio.gather(*runs)
        crew.check()
        on_done(len(tasks))


async def _run_group(
    tasks: list[EpisodeTask],
    seat: Seat,
    temperature: float,
    kit: Toolkit,
    work: SynthesisWork,
    *,
    keeps_each: bool,
) -> None:
    """Run attempts of one teacher; what costs money is kept as soon as it is finished.

    A paid attempt that an outage or the budget ended is not kept: the next run makes it again.
    """

    def keep(task: EpisodeTask, episode: Episode) -> None:
        if episode.trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
            work.add([episode])

    episodes = await run_batch(
        tasks,
        policy=seat.policy,
        kit=kit,
        renderer=None,
        temperature=temperature,
        on_episode=keep if keeps_each else None,
    )
    if not keeps_each:
        work.add(episodes)
