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
    Page,
    RecordedSearch,
    SearchProvider,
    TextHit,
    build_index,
)
from agentic_vlm.search.answers import AnswerStore
from agentic_vlm.search.fake import picture_key

PICTURE = Image.linear_gradient("L").convert("RGB")
UNKNOWN = PICTURE.transpose(Image.Transpose.ROTATE_180)
TEXT = "Velmora is a mill founded in 1731."
UNKNOWN_QUERIES = ("dragon", "", "\ud800", '"AND (', "🎉" * 25_000)
UNKNOWN_URLS = ("https://x/9", "", "\ud800", "no address")
Make = Callable[[Path], SearchProvider]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def make_fake(folder: Path) -> SearchProvider:
    hits = [TextHit("Velmora", "https://x/1", TEXT), TextHit("Velmora", "https://x/2", TEXT)]
    image_hits = {picture_key(PICTURE): [ImageHit("Velmora", "https://x/1", png(PICTURE))]}
    page = Page("Velmora", TEXT)
    return FakeSearch({"Velmora": hits}, image_hits=image_hits, pages={"https://x/1": page})


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


def make_recorded(folder: Path) -> SearchProvider:
    """Build one that asks what is missing, so that the first answer is recorded."""
    store = AnswerStore(folder / "answers")
    inner = make_local(folder)
    return RecordedSearch(inner, store, engine={"engine": "local"}, mode="record_missing")


def make_replay(folder: Path) -> SearchProvider:
    """Build one that has recorded every question of this file, and asks nobody."""

    async def record() -> None:
        search = make_recorded(folder)
        for query, num_hits in [("velmora", 5), *((query, 5) for query in UNKNOWN_QUERIES)]:
            await search.search_text(query, num_hits=num_hits)
        for picture in (PICTURE, UNKNOWN):
            await search.search_image(picture, num_hits=5)
        for url in ("https://x/1", *UNKNOWN_URLS):
            await search.visit(url)
        await search.close()

    asyncio.run(record())
    store = AnswerStore(folder / "answers")
    return RecordedSearch(None, store, engine={"engine": "local"}, mode="replay")


@pytest.fixture(
    params=[make_fake, make_local, make_recorded, make_replay],
    ids=["fake", "local", "recorded", "replay"],
)
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


@pytest.mark.parametrize("query", UNKNOWN_QUERIES)
def test_nothing_found_is_an_empty_list(provider: SearchProvider, query: str) -> None:
    assert asyncio.run(provider.search_text(query, num_hits=5)) == []


def test_a_known_picture_finds_its_page_with_a_png(provider: SearchProvider) -> None:
    (hit,) = asyncio.run(provider.search_image(PICTURE, num_hits=5))
    assert (hit.title, hit.link) == ("Velmora", "https://x/1")
    assert Image.open(io.BytesIO(hit.thumbnail)).format == "PNG"


def test_an_unknown_picture_finds_nothing(provider: SearchProvider) -> None:
    assert asyncio.run(provider.search_image(UNKNOWN, num_hits=5)) == []


def test_a_visit_gives_the_text_of_the_page(provider: SearchProvider) -> None:
    assert asyncio.run(provider.visit("https://x/1")) == Page("Velmora", TEXT)


@pytest.mark.parametrize("url", UNKNOWN_URLS)
def test_an_address_without_a_page_is_a_fault_and_no_outage(
    provider: SearchProvider, url: str
) -> None:
    page = asyncio.run(provider.visit(url))
    assert (page.text, page.fault) == ("", "status 404")


def test_a_closed_provider_is_unavailable_not_empty(provider: SearchProvider) -> None:
    asyncio.run(provider.close())
    with pytest.raises(SearchUnavailable, match="it is closed"):
        asyncio.run(provider.search_text("velmora", num_hits=5))


def test_an_outage_raises_and_ends() -> None:
    search = FakeSearch({"velmora": [TextHit("Velmora", "l", TEXT)]}, num_outages=1)
    with pytest.raises(SearchUnavailable, match="an outage was asked for"):
        asyncio.run(search.search_text("velmora", num_hits=1))
    assert len(asyncio.run(search.search_text("velmora", num_hits=1))) == 1
