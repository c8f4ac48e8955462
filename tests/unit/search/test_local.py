"""LocalSearch."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.params import SearchParams
from agentic_vlm.search import ImageHit, LocalSearch, SearchProvider, TextHit, build, build_index

from .conftest import PAGES, PICTURES, draw, encode
from .test_build import digests

T = TypeVar("T")


def ask(corpus: Path, question: Callable[[SearchProvider], Awaitable[T]]) -> T:
    async def run() -> T:
        search = build(SearchParams(), corpus=corpus)
        try:
            return await question(search)
        finally:
            await search.close()

    return asyncio.run(run())


def find(corpus: Path, query: str, *, num_hits: int = 5) -> list[TextHit]:
    return ask(corpus, lambda search: search.search_text(query, num_hits=num_hits))


def test_a_title_beats_a_mention(corpus: Path) -> None:
    assert [hit.title for hit in find(corpus, "velmora")] == ["Velmora", "Dorn"]


def test_a_hit_carries_link_date_and_snippet(corpus: Path) -> None:
    assert find(corpus, "When was Velmora founded?", num_hits=1) == [
        TextHit(
            title="Velmora",
            link="https://x/velmora",
            snippet="Velmora is a mill founded in 1731.",
            date="2020-01-02",
        )
    ]


def test_unknown_words_find_nothing(corpus: Path) -> None:
    assert find(corpus, "dragon") == []


@pytest.mark.parametrize("num_hits", [1, 7, 60])
def test_equal_scores_are_ordered_by_article_id(corpus: Path, num_hits: int) -> None:
    ids = sorted(page.article_id for page in PAGES if page.title == "Twin")
    links = [f"https://x/{one.removeprefix('t')}" for one in ids]
    assert [hit.link for hit in find(corpus, "twin", num_hits=num_hits)] == links[:num_hits]


@pytest.mark.parametrize(
    "query",
    ["", "AND OR NOT", 'title:"', "+-&&||!(){}[]^~*?:\\/", "\ud800", "\x00", "🎉", "x" * 100_000],
)
def test_no_text_is_a_wrong_query(corpus: Path, query: str) -> None:
    assert find(corpus, query) == []


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.text(max_size=60), min_size=20, max_size=20))
def test_arbitrary_texts_are_valid_queries(corpus: Path, queries: list[str]) -> None:
    async def question(search: SearchProvider) -> int:
        return max([len(await search.search_text(query, num_hits=3)) for query in queries])

    assert ask(corpus, question) <= 3


def test_a_resized_picture_finds_its_page(corpus: Path) -> None:
    hits = ask(corpus, lambda s: s.search_image(draw(10, size_px=200), num_hits=1))
    assert hits == [ImageHit("emblem 10", "https://x/10", encode(draw(10)))]


def test_searching_changes_no_file_of_the_corpus(corpus: Path) -> None:
    before = digests(corpus)
    find(corpus, "velmora")
    assert digests(corpus) == before


def test_200_searches_at_once_answer_as_one_by_one(corpus: Path) -> None:
    async def question(search: SearchProvider) -> list[list[TextHit]]:
        queries = [f"velmora twin {number % 7}" for number in range(200)]
        return await asyncio.gather(*(search.search_text(one, num_hits=5) for one in queries))

    together = ask(corpus, question)
    assert together[:7] == [find(corpus, f"velmora twin {number}") for number in range(7)]
    assert together[7:14] == together[:7]


def test_200_searches_at_once_open_the_engine_once(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_table, opened = pq.read_table, []

    def count(folder: Path, **options: object) -> pa.Table:
        opened.append(folder)
        return read_table(folder, **options)

    monkeypatch.setattr(pq, "read_table", count)

    async def question(search: SearchProvider) -> list[list[TextHit]]:
        searches = (search.search_text("velmora", num_hits=2) for _ in range(200))
        return await asyncio.gather(*searches)

    assert len(ask(corpus, question)) == 200
    assert len(opened) == 1


def test_200_searches_at_once_leave_the_event_loop_free(corpus: Path) -> None:
    turns = 0

    async def question(search: SearchProvider) -> list[object]:
        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        texts = (search.search_text(f"velmora {number}", num_hits=5) for number in range(150))
        pictures = (search.search_image(draw(number), num_hits=2) for number in range(50))
        answers = await asyncio.gather(*texts, *pictures)
        turning.cancel()
        return answers

    assert len(ask(corpus, question)) == 200
    # Were the searches done in the loop, it would turn once before and once after them.
    assert turns > 10


def test_a_corpus_without_rows_finds_nothing(tmp_path: Path) -> None:
    build_index([], [], tmp_path / "corpus")
    assert find(tmp_path / "corpus", "velmora") == []
    assert ask(tmp_path / "corpus", lambda s: s.search_image(draw(1), num_hits=1)) == []


def test_building_a_provider_opens_nothing(tmp_path: Path) -> None:
    assert isinstance(build(SearchParams(), corpus=tmp_path / "none"), LocalSearch)


def test_a_missing_corpus_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(SearchUnavailable) as caught:
        find(tmp_path / "none", "velmora")
    place = tmp_path / "none" / "text_index"
    assert str(caught.value) == (
        f"{place}: [Errno 2] No such file or directory: '{place}/manifest.json'\n"
        "  fix: rerun the stage that wrote the corpus, or `dvc checkout` the folder"
    )


@pytest.mark.parametrize("pattern", ["*.idx", "*.fast", "*.store", "*.term", "meta.json"])
def test_a_damaged_index_is_unavailable_not_empty(corpus: Path, pattern: str) -> None:
    path = next((corpus / "text_index").glob(pattern))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(SearchUnavailable, match="is damaged"):
        find(corpus, "velmora")


def test_a_damaged_gallery_is_unavailable(corpus: Path) -> None:
    path = corpus / "images" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SearchUnavailable, match="images"):
        ask(corpus, lambda search: search.search_image(draw(5), num_hits=1))


def test_a_repaired_corpus_works_without_a_new_provider(tmp_path: Path) -> None:
    async def question(search: SearchProvider) -> list[TextHit]:
        with pytest.raises(SearchUnavailable):
            await search.search_text("velmora", num_hits=1)
        build_index(PAGES, PICTURES, tmp_path / "corpus")
        return await search.search_text("velmora", num_hits=1)

    assert ask(tmp_path / "corpus", question)[0].title == "Velmora"
