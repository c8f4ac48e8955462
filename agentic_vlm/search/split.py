"""SplitSearch: one engine for texts and pages, another one for pictures."""

from PIL import Image

from agentic_vlm.search.base import ImageHit, Page, SearchProvider, TextHit


class SplitSearch:
    """Sends each kind of search to its engine."""

    def __init__(self, texts: SearchProvider, pictures: SearchProvider) -> None:
        """Keep the two engines; both are closed with this one."""
        self._texts = texts
        self._pictures = pictures

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Ask the engine for texts."""
        return await self._texts.search_text(query, num_hits=num_hits)

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Ask the engine for pictures."""
        return await self._pictures.search_image(image, num_hits=num_hits)

    async def visit(self, url: str) -> Page:
        """Ask the engine for texts."""
        return await self._texts.visit(url)

    async def close(self) -> None:
        """Close both."""
        await self._texts.close()
        await self._pictures.close()
