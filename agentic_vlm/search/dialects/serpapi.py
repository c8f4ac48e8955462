"""SerpAPI: Google results, https://serpapi.com."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentic_vlm.search.base import TextHit
from agentic_vlm.search.dialects.base import FoundPicture, rows_of, text_of
from agentic_vlm.search.exchange import Ask

_NOTHING_FOUND = "hasn't returned any results"


@dataclass(frozen=True, slots=True)
class SerpApi:
    """GET with the key as a parameter, the only way that it knows; pictures by public address."""

    endpoint: str = "https://serpapi.com/search.json"
    name: str = "serpapi"
    key_variable: str = "SERPAPI_API_KEY"
    is_key_needed: bool = True
    max_query_chars: int = 2048
    takes_picture: str = "address"

    def ask_text(self, query: str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a text search."""
        return self._ask({"engine": "google", "q": query, "num": str(num_hits)}, key)

    def read_text(self, answer: Mapping[str, object]) -> list[TextHit]:
        """Return all hits of an answer."""
        if _NOTHING_FOUND in text_of(answer, "error"):
            return []
        return [
            TextHit(
                title=text_of(row, "title"),
                link=text_of(row, "link"),
                snippet=text_of(row, "snippet"),
                date=text_of(row, "date"),
            )
            for row in rows_of(answer, "organic_results")
        ]

    def ask_picture(self, picture: bytes | str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a picture search."""
        del num_hits
        return self._ask({"engine": "google_lens", "url": str(picture)}, key)

    def read_pictures(self, answer: Mapping[str, object]) -> list[FoundPicture]:
        """Return all pictures of an answer."""
        if _NOTHING_FOUND in text_of(answer, "error"):
            return []
        return [
            FoundPicture(
                title=text_of(row, "title"),
                link=text_of(row, "link"),
                thumbnail=text_of(row, "thumbnail", "image"),
            )
            for row in rows_of(answer, "visual_matches")
        ]

    def _ask(self, params: Mapping[str, str], key: str) -> Ask:
        return Ask("GET", self.endpoint, params={**params, "api_key": key}, secret=key)
