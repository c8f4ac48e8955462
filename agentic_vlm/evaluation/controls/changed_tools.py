"""Tools that are new, under other names, otherwise described, or missing though offered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.episode import run_episode
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import ChatMessage, Completion, Policy, Request, SamplingParams
from agentic_vlm.evaluation.controls import unseen
from agentic_vlm.schema import Role, ToolCall
from agentic_vlm.tools.base import ToolResult, refusal
from agentic_vlm.tools.toolbox import Toolbox

Edit = Callable[[str], str]
"""Changes the system prompt."""
NEW_NAMES = {"search": "lookup", "image_search": "find_picture"}
"""Names that no training data has."""
# Where the prompts name a tool: everywhere else, `search` is a plain word.
_NAME_PLACES = ("`{}`", '"name": "{}"', "with {} finds")
_OTHER_WORDS = (
    ("finds texts for a query", "gives passages about some words"),
    ("finds the picture", "recognises the photo"),
    ("returns titles and short excerpts of pages", "gives back headlines with a line of text each"),
    ("finds pages that show the original first image", "recognises what the first photo shows"),
    ("Search for one thing at a time", "Put one thing into each request"),
)


@dataclass(frozen=True, slots=True)
class ToolChange:
    """How the tools of a run differ from those of training."""

    name: str
    """renamed, redescribed, missing or unseen."""
    edit: Edit
    """Changes the system prompt; it tells the model of the change, except for missing tools."""
    names: Mapping[str, str]
    """New names by old ones; old ones are then unknown."""
    missing: frozenset[str] = frozenset()
    """Tools that the prompt offers and that are not there."""
    has_new: bool = False
    """Whether the tool of `controls.unseen` is there."""


def rename_in(text: str, names: Mapping[str, str]) -> str:
    """Return a prompt with other names of tools, where they stand as names.

    >>> rename_in('`search` takes {"name": "search"}; search well', {"search": "lookup"})
    '`lookup` takes {"name": "lookup"}; search well'
    """
    for old, new in names.items():
        for place in _NAME_PLACES:
            text = text.replace(place.format(old), place.format(new))
    return text


def _redescribe(text: str) -> str:
    for old, new in _OTHER_WORDS:
        text = text.replace(old, new)
    return text


CHANGES = {
    change.name: change
    for change in (
        ToolChange("renamed", lambda text: rename_in(text, NEW_NAMES), NEW_NAMES),
        ToolChange("redescribed", _redescribe, {}),
        ToolChange("missing", lambda text: text, {}, frozenset(NEW_NAMES)),
        ToolChange("unseen", lambda text: f"{text}\n{unseen.OFFER}", {}, has_new=True),
    )
}


class ChangedToolbox(Toolbox):
    """Tools of an episode under a change."""

    change: ToolChange

    async def run(self, call: ToolCall) -> ToolResult:
        """Carry out a call by the names that hold now."""
        if self.change.has_new and call.tool == unseen.NAME:
            result = unseen.zoom(call, self._images)
            self._images.extend(result.images)
            return result
        old_names = {new: old for old, new in self.change.names.items()}
        if call.tool in old_names:
            return await super().run(call.model_copy(update={"tool": old_names[call.tool]}))
        if call.tool in self.change.names or call.tool in self.change.missing:
            return refusal(f"Invalid tool call name: {call.tool}", error_class="UnknownTool")
        return await super().run(call)


class _EditedRenderer(Renderer):
    edit: Edit

    def render_prompt(
        self, system: str, user: str, images: Sequence[Image.Image], *, episode_id: str = ""
    ) -> TokenContext:
        return super().render_prompt(self.edit(system), user, images, episode_id=episode_id)


class _EditedPolicy:
    """For policies that take text: the same edit on the first message."""

    def __init__(self, policy: Policy, edit: Edit) -> None:
        self.policy_id = policy.policy_id
        self._policy = policy
        self._edit = edit

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        first, *rest = request.messages
        if first.role is Role.SYSTEM:
            first = ChatMessage(Role.SYSTEM, (self._edit(first.text),))
        request.messages = [first, *rest]
        return await self._policy.complete(request, params)

    def expect(self, num_episodes: int) -> None:
        self._policy.expect(num_episodes)

    def done(self, episode_id: str) -> None:
        self._policy.done(episode_id)

    async def close(self) -> None:
        await self._policy.close()


async def run_changed(
    tasks: Sequence[EpisodeTask],
    *,
    change: ToolChange,
    runtime: Runtime,
    temperature: float,
    on_episode: Callable[[EpisodeTask, Episode], None],
) -> list[Episode]:
    """Return the episodes of tasks under a change of their tools; outages end them as ever."""
    policy = _EditedPolicy(runtime.policy, change.edit)
    renderer = None
    if runtime.renderer is not None:
        renderer = _EditedRenderer(runtime.renderer.tokenizer, vision=runtime.kit.vision)
        renderer.edit = change.edit
    policy.expect(len(tasks))

    async def run(task: EpisodeTask) -> Episode:
        toolbox = ChangedToolbox.for_episode(runtime.kit, images=task.images, seed=task.seed)
        toolbox.change = change
        try:
            episode = await run_episode(
                task,
                policy=policy,
                toolbox=toolbox,
                renderer=renderer,
                params=runtime.kit.agent,
                temperature=temperature,
            )
        finally:
            policy.done(task.episode_id(policy.policy_id))
        on_episode(task, episode)
        return episode

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(task)) for task in tasks]
    return [done.result() for done in running]
