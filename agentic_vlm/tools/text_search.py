"""The tool `search`: a query to titles and excerpts."""

import json

from agentic_vlm.schema import ToolCall
from agentic_vlm.search.base import SearchProvider
from agentic_vlm.tools.base import ToolResult, refusal
from agentic_vlm.tools.observe import Style, text_search_text


class TextSearchTool:
    """Searches texts; one query per call."""

    name = "search"

    def __init__(
        self, provider: SearchProvider, *, num_hits: int, style: Style, has_links: bool = False
    ) -> None:
        """Keep the engine and how to show its hits.

        Args:
            provider: the engine.
            num_hits: most hits that are shown.
            style: how hits are shown.
            has_links: show addresses in style compact too, for a tool that takes them.
        """
        self._provider = provider
        self._num_hits = num_hits
        self._style = style
        self._has_links = has_links

    async def run(self, call: ToolCall) -> ToolResult:
        """Search; nothing found is a result that says so.

        Raises:
            SearchUnavailable: the engine failed.
        """
        arguments = json.loads(call.arguments_json) if call.arguments_json else None
        query = arguments.get("query") if isinstance(arguments, dict) else None
        if not isinstance(query, str) or not query.strip():
            reason = "Invalid tool call parameters for search: it needs a text 'query'"
            return refusal(reason, error_class="InvalidArguments")
        query = query.strip()
        hits = await self._provider.search_text(query, num_hits=self._num_hits)
        text = text_search_text(
            query, hits[: self._num_hits], style=self._style, has_links=self._has_links
        )
        return ToolResult(text)

    async def close(self) -> None:
        """Hold nothing; the engine belongs to all episodes."""
