"""The control runs by name, and how each changes what episodes share."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.evaluation.controls.changed_tools import CHANGES, run_changed
from agentic_vlm.evaluation.controls.tampering import (
    BrokenSandbox,
    EmptySearch,
    SpoiltSearch,
    SwappedPictures,
)
from agentic_vlm.tools.toolbox import Toolkit

KITS: dict[str, Callable[[Toolkit], Toolkit]] = {
    "blank_crop": lambda kit: replace(kit, sandbox=SwappedPictures(kit.sandbox, "blank")),
    "random_crop": lambda kit: replace(kit, sandbox=SwappedPictures(kit.sandbox, "random")),
    "broken": lambda kit: replace(
        kit, sandbox=BrokenSandbox(kit.sandbox), provider=EmptySearch(kit.provider)
    ),
    "noisy": lambda kit: replace(kit, provider=SpoiltSearch(kit.provider, "noisy")),
    "hostile": lambda kit: replace(kit, provider=SpoiltSearch(kit.provider, "hostile")),
}
"""Controls that put a sandbox or a search engine around the real one."""
CONTROLS = (*KITS, *CHANGES)
"""Names of the control runs."""

NO_CONTROL = "none"
"""Name of an ordinary run."""

OnEpisode = Callable[[EpisodeTask, Episode], None]
"""Told of each episode as it ends."""


class RunTasks(Protocol):
    """Runs tasks, all at once."""

    async def __call__(
        self, tasks: Sequence[EpisodeTask], *, on_episode: OnEpisode
    ) -> list[Episode]:
        """Return the episodes in the order of the tasks."""
        ...


def tasks_runner(control: str, runtime: Runtime, *, temperature: float) -> RunTasks:
    """Return what runs tasks under a control.

    Args:
        control: NO_CONTROL, or one of CONTROLS.
        runtime: policy and tools, as opened.
        temperature: of sampling.
    """
    kit = KITS[control](runtime.kit) if control in KITS else runtime.kit

    async def run_plain(tasks: Sequence[EpisodeTask], *, on_episode: OnEpisode) -> list[Episode]:
        return await run_batch(
            tasks,
            policy=runtime.policy,
            kit=kit,
            renderer=runtime.renderer,
            temperature=temperature,
            on_episode=on_episode,
        )

    async def run_with_change(
        tasks: Sequence[EpisodeTask], *, on_episode: OnEpisode
    ) -> list[Episode]:
        return await run_changed(
            tasks,
            change=CHANGES[control],
            runtime=runtime,
            temperature=temperature,
            on_episode=on_episode,
        )

    return run_with_change if control in CHANGES else run_plain
