"""Who answers a query: pages for a text, pages for a picture."""

from pathlib import Path

from agentic_vlm.params import SearchParams
from agentic_vlm.search.base import ImageHit, SearchProvider, TextHit
from agentic_vlm.search.build import build_index
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.search.local import LocalSearch

__all__ = [
    "FakeSearch",
    "ImageHit",
    "LocalSearch",
    "SearchProvider",
    "TextHit",
    "build",
    "build_index",
]


def build(params: SearchParams, *, corpus: Path) -> SearchProvider:
    """Return the provider that the params name; nothing is opened before the first search."""
    match params.type:
        case "local":
            return LocalSearch(
                corpus,
                max_snippet_chars=params.max_snippet_chars,
                max_distance=params.max_phash_distance,
            )
        case "fake":
            return FakeSearch()
