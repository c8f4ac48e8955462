"""The prompts: what the model is told before its first turn. Their texts are files in `prompts/`.

A line that begins with names of tools in double braces, such as `{{search|image_search}}`, is kept
where one of them is offered. `image_search_whole` and `image_search_part` stand for the two forms
of `image_search`: without arguments, and of protocol deepeyesv2_plus.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple, Protocol

from agentic_vlm.schema import ProbeMode
from agentic_vlm.tools.neutralise import IMAGE_MARK, neutralise

_NAMES = "python|search|image_search|image_search_whole|image_search_part|visit"
_FOR_TOOL = re.compile(rf"\{{\{{((?:\|?(?:{_NAMES}))+)\}}\}}(.*)")


class PromptChoice(Protocol):
    """The part of the agent params that chooses a prompt."""

    @property
    def prompt(self) -> str:
        """Name of the prompt files: pocket, pocket_plus or deepeyesv2."""
        ...

    @property
    def protocol(self) -> str:
        """deepeyesv2 or deepeyesv2_plus."""
        ...

    @property
    def tools(self) -> Sequence[str]:
        """Names of the tools on offer."""
        ...


class Prompt(NamedTuple):
    """What stands before the first assistant message."""

    system: str
    """The system message; empty where there is none."""
    user: str
    """The user message; each `<image>` is a marker of ours, data is neutralised."""


def build_prompt(
    question: str,
    *,
    num_images: int,
    mode: ProbeMode,
    params: PromptChoice,
    thinks: bool = False,
) -> Prompt:
    """Return the prompt of one episode.

    Direct mode has no system message and no tools; both modes show the pictures first. With
    `thinks`, direct mode asks for reasoning before the answer.
    """
    images = (
        f"{IMAGE_MARK}\n" * num_images
        if params.prompt == "deepeyesv2"
        else (IMAGE_MARK * num_images)
    )
    if mode is ProbeMode.DIRECT:
        user = _think_user() if thinks else _lines("direct_user", ())
        return Prompt("", _fill(user, images, question))
    tools = (*params.tools, *_form_of_image_search(params))
    user = _fill(_lines(f"{params.prompt}_user", tools), images, question)
    return Prompt(_lines(f"{params.prompt}_system", tools), user)


def _form_of_image_search(params: PromptChoice) -> Sequence[str]:
    if "image_search" not in params.tools:
        return ()
    is_plus = params.protocol == "deepeyesv2_plus"
    return ("image_search_part",) if is_plus else ("image_search_whole",)


def _fill(text: str, images: str, question: str) -> str:
    before, after = text.split("{{question}}")
    return before.replace("{{images}}", images) + neutralise(question.strip()) + after


@cache
def _think_user() -> str:
    # Beside `prompts/`, all of which the pocket base model was made with.
    file = resources.files("agentic_vlm.agent").joinpath("think_user.md")
    return file.read_text(encoding="utf-8").strip()


@cache
def _lines(name: str, tools: tuple[str, ...]) -> str:
    file = resources.files("agentic_vlm.agent").joinpath("prompts", f"{name}.md")
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        match = _FOR_TOOL.fullmatch(line)
        if match is None:
            kept.append(line)
        elif set(match[1].split("|")) & set(tools):
            kept.append(match[2])
    return "\n".join(kept).strip()
