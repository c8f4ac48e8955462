"""FlakySearch: an engine that is out of order now and then, on purpose, to show what that does."""

import asyncio
import hashlib
import json
from collections import Counter

from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.base import ImageHit, Page, SearchProvider, TextHit
from agentic_vlm.search.pictures import picture_digest


class FlakySearch:
    """Wraps an engine and lets a share of the searches fail.

    Which ones is decided by a digest of the seed, the request and how often it was made before. So
    the order of different searches plays no part, and a search that is made again gets another
    chance. Of equal searches on their way together, the one that comes first is hit.
    """

    def __init__(self, inner: SearchProvider, *, share: float, seed: int) -> None:
        """Keep the engine.

        Args:
            inner: answers the searches that do not fail; closed with this one.
            share: how many of the searches fail, 0 to 1.
            seed: chooses which.
        """
        self._inner = inner
        self._share = share
        self._seed = seed
        self._num_asked: Counter[str] = Counter()
        self.num_searches = 0
        """Searches so far."""
        self.num_outages = 0
        """Those of them that failed."""

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return the hits of the engine, or fail."""
        self._strike("text", query)
        return await self._inner.search_text(query, num_hits=num_hits)

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Return the hits of the engine, or fail."""
        self._strike("picture", await asyncio.to_thread(picture_digest, image))
        return await self._inner.search_image(image, num_hits=num_hits)

    async def visit(self, url: str) -> Page:
        """Return the page of the engine, or fail."""
        self._strike("page", url)
        return await self._inner.visit(url)

    async def close(self) -> None:
        """Close the engine."""
        await self._inner.close()

    def _strike(self, kind: str, asked: str) -> None:
        request = json.dumps([self._seed, kind, asked])
        nth = self._num_asked[request]
        self._num_asked[request] += 1
        self.num_searches += 1
        digest = hashlib.sha256(f"{request}\n{nth}".encode()).digest()
        if int.from_bytes(digest[:8]) < self._share * 2**64:
            self.num_outages += 1
            fix = "search again, or set search.outage_share to 0"
            raise SearchUnavailable("search", "this outage was asked for", fix)
