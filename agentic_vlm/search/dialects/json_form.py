"""Any server that speaks one simple JSON form, such as a retriever of your own.

Text: `POST {"query": "...", "num": 5}`. Picture: `POST {"image": "<base64 PNG>", "num": 5}`. The
answer is `{"data": [{"title", "link", "snippet", "date"?, "thumbnail"?}]}`, the form of the search
function of DeepEyesV2; `thumbnail` is a base64 picture.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from agentic_vlm.search.base import TextHit
from agentic_vlm.search.dialects.base import FormError, FoundPicture, rows_of, text_of
from agentic_vlm.search.exchange import Ask


@dataclass(frozen=True, slots=True)
class JsonForm:
    """POST to the address in AGENTIC_SEARCH_URL; a key, where there is one, as bearer token."""

    endpoint: str
    name: str = "json"
    key_variable: str = "AGENTIC_SEARCH_KEY"
    is_key_needed: bool = False
    max_query_chars: int = 4096
    takes_picture: str = "bytes"

    def ask_text(self, query: str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a text search."""
        return self._ask({"query": query, "num": num_hits}, key)

    def read_text(self, answer: Mapping[str, object]) -> list[TextHit]:
        """Return all hits of an answer."""
        return [
            TextHit(
                title=text_of(row, "title"),
                link=text_of(row, "link", "url"),
                snippet=text_of(row, "snippet"),
                date=text_of(row, "date"),
            )
            for row in rows_of(answer, "data")
        ]

    def ask_picture(self, picture: bytes | str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a picture search."""
        encoded = picture if isinstance(picture, bytes) else picture.encode()
        return self._ask({"image": base64.b64encode(encoded).decode(), "num": num_hits}, key)

    def read_pictures(self, answer: Mapping[str, object]) -> list[FoundPicture]:
        """Return all pictures of an answer."""
        return [
            FoundPicture(
                title=text_of(row, "title"),
                link=text_of(row, "link", "url"),
                thumbnail=_decoded(text_of(row, "thumbnail")),
            )
            for row in rows_of(answer, "data")
        ]

    def _ask(self, content: object, key: str) -> Ask:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return Ask("POST", self.endpoint, headers=headers, json=content, secret=key)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.replace(" ", ""), validate=True)
    except (binascii.Error, ValueError):
        raise FormError("a 'thumbnail' is not base64") from None
