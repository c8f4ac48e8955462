"""FakeSearch: answers from a table, for tests and dry runs."""

from collections.abc import Mapping, Sequence

from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.base import ImageHit, Page, TextHit
from agentic_vlm.search.pictures import picture_digest


def picture_key(image: Image.Image) -> str:
    """Return the digest of a picture's pixels, under which FakeSearch looks it up."""
    return picture_digest(image)


class FakeSearch:
    """Answers known queries and pictures, finds nothing for others, fails when told to."""

    def __init__(
        self,
        text_hits: Mapping[str, Sequence[TextHit]] | None = None,
        *,
        image_hits: Mapping[str, Sequence[ImageHit]] | None = None,
        pages: Mapping[str, Page] | None = None,
        num_outages: int = 0,
    ) -> None:
        """Keep the tables.

        Args:
            text_hits: hits by query, compared after casefold and strip.
            image_hits: hits by `picture_key`.
            pages: pages by address.
            num_outages: how many searches fail before the first one works.
        """
        self._text_hits = {key.strip().casefold(): hits for key, hits in (text_hits or {}).items()}
        self._image_hits = dict(image_hits or {})
        self._pages = dict(pages or {})
        self._num_outages = num_outages
        self._is_closed = False

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return the hits of the table."""
        self._check()
        return list(self._text_hits.get(query.strip().casefold(), ()))[: max(0, num_hits)]

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Return the hits of the table."""
        self._check()
        return list(self._image_hits.get(picture_key(image), ()))[: max(0, num_hits)]

    async def visit(self, url: str) -> Page:
        """Return the page of the table."""
        self._check()
        return self._pages.get(url, Page("", "", fault="status 404"))

    async def close(self) -> None:
        """Refuse later searches."""
        self._is_closed = True

    def _check(self) -> None:
        if self._is_closed:
            raise SearchUnavailable(
                "fake search", "it is closed", "build another provider; a closed one stays closed"
            )
        if self._num_outages > 0:
            self._num_outages -= 1
            raise SearchUnavailable("fake search", "an outage was asked for", "search again")
