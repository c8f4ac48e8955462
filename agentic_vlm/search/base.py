"""SearchProvider: who answers a query, and what a hit is."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class TextHit:
    """One page that answers a text query."""

    title: str
    """Title of the page."""
    link: str
    """Address of the page."""
    snippet: str
    """The part of the page around the best match; plain text, whole words."""
    date: str = ""
    """Date of publication as the page gives it; empty where unknown."""


@dataclass(frozen=True, slots=True)
class ImageHit:
    """One page whose picture looks like the one that was asked for."""

    title: str
    """Title of the page."""
    link: str
    """Address of the page."""
    thumbnail: bytes
    """The page's picture as it came, in whatever format; not yet decoded by anyone."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a visit to an address gave."""

    title: str
    """Title of the page; may be empty."""
    text: str
    """Its readable text; empty where `fault` says why there is none."""
    date: str = ""
    """Date of publication as the page gives it; empty where unknown."""
    fault: str = ""
    """Why the address has nothing to read, such as `status 404`; empty for a page with text."""


class SearchProvider(Protocol):
    """Answers queries; equal queries get equal answers, whatever else is being asked."""

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return at most `num_hits` pages, best first; nothing found is an empty list.

        Any text is a valid query.

        Raises:
            SearchUnavailable: the engine failed, which is not the same as finding nothing.
        """
        ...

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Return at most `num_hits` pages with a similar picture, most similar first.

        Raises:
            SearchUnavailable: the engine failed, which is not the same as finding nothing.
        """
        ...

    async def visit(self, url: str) -> Page:
        """Return the page at an address; any text is a valid address.

        What is wrong with the address or its server is said in the page: who calls has chosen it.

        Raises:
            SearchUnavailable: something of ours failed, such as the network.
        """
        ...

    async def close(self) -> None:
        """Release threads and files; later searches raise SearchUnavailable."""
        ...
