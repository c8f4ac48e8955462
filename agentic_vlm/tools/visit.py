"""The tool `visit`: an address to the readable text of its page. Protocol deepeyesv2_plus only."""

import json

from agentic_vlm.schema import ToolCall
from agentic_vlm.search.base import SearchProvider
from agentic_vlm.tools.base import ToolResult, refusal
from agentic_vlm.tools.observe import Style, page_text


class VisitTool:
    """Reads one page per call."""

    name = "visit"

    def __init__(self, provider: SearchProvider, *, max_chars: int, style: Style) -> None:
        """Keep the engine, how much of a page is shown, and how."""
        self._provider = provider
        self._max_chars = max_chars
        self._style = style

    async def run(self, call: ToolCall) -> ToolResult:
        """Read the page; an address without a readable page is an error observation.

        Raises:
            SearchUnavailable: something of ours failed, not the page.
        """
        arguments = json.loads(call.arguments_json) if call.arguments_json else None
        url = arguments.get("url") if isinstance(arguments, dict) else None
        if not isinstance(url, str) or not url.strip():
            reason = "Invalid tool call parameters for visit: it needs a text 'url'"
            return refusal(reason, error_class="InvalidArguments")
        page = await self._provider.visit(url.strip())
        if page.fault:
            # The model has chosen the address: what is wrong with it is for the model to know.
            return refusal(f"The page cannot be read: {page.fault}", error_class="PageFault")
        shown = page_text(page, max_chars=self._max_chars, style=self._style)
        return ToolResult(shown.text, num_dropped_chars=shown.num_dropped_chars)

    async def close(self) -> None:
        """Hold nothing; the engine belongs to all episodes."""
