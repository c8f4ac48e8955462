"""The tools of an episode, each call with a deadline."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from PIL import Image

from agentic_vlm.errors import InfrastructureError, SandboxUnavailable, SearchUnavailable
from agentic_vlm.params import AgentParams, SearchParams, VisionParams
from agentic_vlm.sandbox.base import Sandbox
from agentic_vlm.schema import ObservationStatus, ToolCall
from agentic_vlm.search.base import SearchProvider
from agentic_vlm.search.meter import billed
from agentic_vlm.tools.base import Tool, ToolResult, refusal
from agentic_vlm.tools.image_search import ImageSearchTool
from agentic_vlm.tools.observe import Style
from agentic_vlm.tools.python import PythonTool
from agentic_vlm.tools.text_search import TextSearchTool
from agentic_vlm.tools.thumbnails import Decoder, LocalDecoder, SandboxDecoder
from agentic_vlm.tools.visit import VisitTool


@dataclass(frozen=True, slots=True)
class Toolkit:
    """What the tools of all episodes share; `Toolbox.for_episode` makes one episode's tools."""

    agent: AgentParams
    """Which tools there are, and their deadline."""
    vision: VisionParams
    """Limits of pictures that tools hand back."""
    search: SearchParams
    """How many hits are shown."""
    sandbox: Sandbox
    """Runs code."""
    provider: SearchProvider
    """Answers queries."""
    style: Style = "compact"
    """Layout of observations."""


class Toolbox:
    """Answers the calls of one episode; unknown names too."""

    def __init__(
        self,
        tools: Sequence[Tool],
        *,
        deadline_s: float,
        images: list[Image.Image] | None = None,
    ) -> None:
        """Keep the tools; each call may take `deadline_s` wall-clock seconds.

        Args:
            tools: what may be called.
            deadline_s: wall-clock seconds of a call.
            images: the pictures of the episode; those that tools hand back are added.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._deadline_s = deadline_s
        self._images = [] if images is None else images

    @classmethod
    def for_episode(cls, kit: Toolkit, *, images: Sequence[Image.Image], seed: int) -> Self:
        """Make the tools of one episode; nothing is opened before the first call."""
        seen = list(images)
        tools = [_make(name, kit, tuple(images), seen, seed) for name in kit.agent.tools]
        return cls(tools, deadline_s=kit.agent.tool_deadline_s, images=seen)

    async def run(self, call: ToolCall) -> ToolResult:
        """Carry out a call; every fault of the model's making is a result.

        Raises:
            SandboxUnavailable: the sandbox failed or did not answer within the deadline.
            SearchUnavailable: the search engine failed or did not answer within the deadline.
        """
        started = time.perf_counter()
        if not call.tool:
            result = _malformed(call.arguments_json)
        elif call.tool not in self._tools:
            result = unknown_tool(call.tool, tuple(self._tools))
        else:
            with billed() as bill:
                result = replace(await self._run_in_time(call), cost_usd=bill.usd)
        self._images.extend(result.images)
        return replace(result, latency_s=time.perf_counter() - started)

    async def close(self) -> None:
        """Release what the tools hold; closing twice is fine."""
        for tool in self._tools.values():
            await tool.close()

    async def _run_in_time(self, call: ToolCall) -> ToolResult:
        try:
            return await asyncio.wait_for(self._tools[call.tool].run(call), self._deadline_s)
        except TimeoutError as fault:
            raise _late(call.tool, self._deadline_s) from fault


def _make(
    name: str,
    kit: Toolkit,
    images: tuple[Image.Image, ...],
    seen: Sequence[Image.Image],
    seed: int,
) -> Tool:
    """Make a tool; `images` are the question's, `seen` grows with the episode."""
    match name:
        case "python":
            return PythonTool(
                kit.sandbox, images=images, seed=seed, vision=kit.vision, style=kit.style
            )
        case "search":
            return TextSearchTool(
                kit.provider,
                num_hits=kit.search.num_text_hits,
                style=kit.style,
                has_links="visit" in kit.agent.tools,
            )
        case "image_search":
            return ImageSearchTool(
                kit.provider,
                images=seen,
                num_hits=kit.search.num_image_hits,
                vision=kit.vision,
                style=kit.style,
                decoder=_decoder(kit),
                has_regions=kit.agent.protocol == "deepeyesv2_plus",
            )
        case "visit":
            return VisitTool(kit.provider, max_chars=kit.search.max_page_chars, style=kit.style)
        case _:
            raise ValueError(f"agent.tools: there is no tool {name}")


def _decoder(kit: Toolkit) -> Decoder:
    engine = kit.search.type if kit.search.pictures == "same" else kit.search.pictures
    return LocalDecoder() if engine in ("local", "fake") else SandboxDecoder(kit.sandbox)


def _late(tool: str, deadline_s: float) -> InfrastructureError:
    error = SandboxUnavailable if tool == "python" else SearchUnavailable
    return error(
        f"tool {tool}",
        f"no answer within {deadline_s:g} s",
        "look at the load of the machine, or raise agent.tool_deadline_s",
    )


def unknown_tool(called: str, names: Sequence[str]) -> ToolResult:
    """Return what the model reads after it has called a tool that there is not."""
    others = ", ".join(name for name in names if name != "python") or "none"
    reason = f"Invalid tool call name: {called}; there is {others}"
    return refusal(reason, error_class="UnknownTool")


def _malformed(body: str) -> ToolResult:
    fault = "it needs a JSON object with a 'name'"
    try:
        json.loads(body)
    except ValueError as error:
        fault = str(error)
    except RecursionError:
        fault = "nested too deeply"
    return refusal(
        f"Invalid tool call format: {fault}",
        error_class="MalformedCall",
        status=ObservationStatus.MALFORMED,
    )
