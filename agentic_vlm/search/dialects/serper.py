"""Serper: Google results, https://serper.dev."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentic_vlm.search.base import TextHit
from agentic_vlm.search.dialects.base import FoundPicture, rows_of, text_of
from agentic_vlm.search.exchange import Ask


@dataclass(frozen=True, slots=True)
class Serper:
    """POST with the key in a header; pictures by public address (Google Lens)."""

    endpoint: str = "https://google.serper.dev"
    name: str = "serper"
    key_variable: str = "SERPER_API_KEY"
    is_key_needed: bool = True
    max_query_chars: int = 2048
    takes_picture: str = "address"

    def ask_text(self, query: str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a text search."""
        return self._ask("search", {"q": query, "num": num_hits}, key)

    def read_text(self, answer: Mapping[str, object]) -> list[TextHit]:
        """Return all hits of an answer."""
        return [
            TextHit(
                title=text_of(row, "title"),
                link=text_of(row, "link"),
                snippet=text_of(row, "snippet"),
                date=text_of(row, "date"),
            )
            for row in rows_of(answer, "organic")
        ]

    def ask_picture(self, picture: bytes | str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a picture search."""
        del num_hits
        return self._ask("lens", {"url": picture}, key)

    def read_pictures(self, answer: Mapping[str, object]) -> list[FoundPicture]:
        """Return all pictures of an answer."""
        return [
            FoundPicture(
                title=text_of(row, "title"),
                link=text_of(row, "link"),
                thumbnail=text_of(row, "thumbnailUrl", "imageUrl"),
            )
            for row in rows_of(answer, "organic")
        ]

    def _ask(self, path: str, content: object, key: str) -> Ask:
        headers = {"X-API-KEY": key}
        return Ask("POST", f"{self.endpoint}/{path}", headers=headers, json=content, secret=key)
