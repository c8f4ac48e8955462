"""What every search provider must do."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search import (
    FakeSearch,
    ImageHit,
    LocalSearch,
    SearchProvider,
    TextHit,
    build_index,
)
from agentic_vlm.search.fake import picture_key

PICTURE = Image.linear_gradient("L").convert("RGB")
UNKNOWN = PICTURE.transpose(Image.Transpose.ROTATE_180)
TEXT = "Velmora is a mill founded in 1731."
Make = Callable[[Path], SearchProvider]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def make_fake(folder: Path) -> SearchProvider:
    hits = [TextHit("Velmora", "https://x/1", TEXT), TextHit("Velmora", "https://x/2", TEXT)]
    image_hits = {picture_key(PICTURE): [ImageHit("Velmora", "https://x/1", png(PICTURE))]}
    return FakeSearch({"Velmora": hits}, image_hits=image_hits)


def make_local(folder: Path) -> SearchProvider:
    pages = [
        SimpleNamespace(
            article_id=f"a{number}", title="Velmora", text=TEXT, date="", link=f"https://x/{number}"
        )
        for number in (1, 2)
    ]
    pictures = [SimpleNamespace(link="https://x/1", title="Velmora", png=png(PICTURE))]
    build_index(pages, pictures, folder / "corpus")
    return LocalSearch(folder / "corpus", max_snippet_chars=160, max_distance=14)


@pytest.fixture(params=[make_fake, make_local], ids=["fake", "local"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> SearchProvider:
    make: Make = request.param
    return make(tmp_path)


def test_a_known_query_finds_its_pages_in_order(provider: SearchProvider) -> None:
    hits = asyncio.run(provider.search_text("velmora", num_hits=5))
    assert hits == [TextHit("Velmora", f"https://x/{number}", TEXT) for number in (1, 2)]


def test_no_more_hits_come_than_were_asked_for(provider: SearchProvider) -> None:
    assert len(asyncio.run(provider.search_text("velmora", num_hits=1))) == 1


def test_no_hits_are_an_answer_to_a_wish_for_none(provider: SearchProvider) -> None:
    assert asyncio.run(provider.search_text("velmora", num_hits=0)) == []


@pytest.mark.parametrize("query", ["dragon", "", "\ud800", '"AND (', "🎉" * 25_000])
def test_nothing_found_is_an_empty_list(provider: SearchProvider, query: str) -> None:
    assert asyncio.run(provider.search_text(query, num_hits=5)) == []


def test_a_known_picture_finds_its_page_with_a_png(provider: SearchProvider) -> None:
    (hit,) = asyncio.run(provider.search_image(PICTURE, num_hits=5))
    assert (hit.title, hit.link) == ("Velmora", "https://x/1")
    assert Image.open(io.BytesIO(hit.thumbnail)).format == "PNG"


def test_an_unknown_picture_finds_nothing(provider: SearchProvider) -> None:
    assert asyncio.run(provider.search_image(UNKNOWN, num_hits=5)) == []


def test_a_closed_provider_is_unavailable_not_empty(provider: SearchProvider) -> None:
    asyncio.run(provider.close())
    with pytest.raises(SearchUnavailable, match="it is closed"):
        asyncio.run(provider.search_text("velmora", num_hits=5))


def test_an_outage_raises_and_ends() -> None:
    search = FakeSearch({"velmora": [TextHit("Velmora", "l", TEXT)]}, num_outages=1)
    with pytest.raises(SearchUnavailable, match="an outage was asked for"):
        asyncio.run(search.search_text("velmora", num_hits=1))
    assert len(asyncio.run(search.search_text("velmora", num_hits=1))) == 1
