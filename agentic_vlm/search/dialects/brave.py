"""Brave Search API, https://brave.com/search/api."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agentic_vlm.search.base import TextHit
from agentic_vlm.search.dialects.base import FormError, FoundPicture, rows_of, text_of
from agentic_vlm.search.exchange import Ask

_MAX_HITS = 20
_MAX_WORDS = 50
_MARK = re.compile(r"</?strong>")


@dataclass(frozen=True, slots=True)
class Brave:
    """GET with the key in a header; no search by picture."""

    endpoint: str = "https://api.search.brave.com/res/v1/web/search"
    name: str = "brave"
    key_variable: str = "BRAVE_API_KEY"
    is_key_needed: bool = True
    max_query_chars: int = 400
    takes_picture: str = "never"

    def ask_text(self, query: str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a text search."""
        params = {
            "q": " ".join(query.split()[:_MAX_WORDS]),
            "count": str(min(num_hits, _MAX_HITS)),
            "text_decorations": "false",
        }
        headers = {"X-Subscription-Token": key, "Accept": "application/json"}
        return Ask("GET", self.endpoint, params=params, headers=headers, secret=key)

    def read_text(self, answer: Mapping[str, object]) -> list[TextHit]:
        """Return all hits of an answer; one without the part `web` has none."""
        web = answer.get("web")
        if not isinstance(web, dict):
            # Without any hit the part is absent; then the query is echoed all the same.
            if "query" in answer:
                return []
            raise FormError("there is neither 'web' nor 'query'")
        return [
            TextHit(
                title=_plain(text_of(row, "title")),
                link=text_of(row, "url"),
                snippet=_plain(text_of(row, "description")),
                date=text_of(row, "page_age", "age"),
            )
            for row in rows_of(web, "results")
        ]

    def ask_picture(self, picture: bytes | str, *, num_hits: int, key: str) -> Ask:
        """Raise: there is no such search."""
        raise ValueError("brave takes no pictures")

    def read_pictures(self, answer: Mapping[str, object]) -> list[FoundPicture]:
        """Raise: there is no such search."""
        raise ValueError("brave takes no pictures")


def _plain(text: str) -> str:
    return html.unescape(_MARK.sub("", text))
