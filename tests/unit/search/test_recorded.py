"""Recording and replay: what was asked once is never asked again."""

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow.parquet as pq
import pytest
from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.params import SearchParams
from agentic_vlm.search import (
    FakeSearch,
    ImageHit,
    Page,
    RecordedSearch,
    SearchProvider,
    TextHit,
    build,
)
from agentic_vlm.search.answers import ALL_HITS, Answer, AnswerStore, StoredHit, request_text
from agentic_vlm.search.fake import picture_key
from agentic_vlm.search.meter import billed, current_bill

from .conftest import draw

T = TypeVar("T")

ENGINE = {"engine": "fake"}
HITS = [TextHit(f"T{number}", f"https://w.example/{number}", "s", "d") for number in range(3)]
PICTURE = draw(5)
IMAGE_HIT = ImageHit("T", "l", b"\xff\xd8 not decoded")
PAGE = Page("P", "a page", "2020")


class CountingSearch(FakeSearch):
    """Counts what it is asked, and charges for it."""

    num_asked = 0

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        self.num_asked += 1
        await asyncio.sleep(0)
        current_bill().add(usd=0.25)
        return await super().search_text(query, num_hits=num_hits)


def engine(**changes: int) -> CountingSearch:
    return CountingSearch(
        {"velmora": HITS},
        image_hits={picture_key(PICTURE): [IMAGE_HIT]},
        pages={"https://w.example/1": PAGE},
        **changes,
    )


def recorded(
    folder: Path,
    inner: SearchProvider | None,
    mode: Literal["replay", "record_missing"] = "record_missing",
) -> RecordedSearch:
    return RecordedSearch(inner, AnswerStore(folder), engine=ENGINE, mode=mode)


def run(search: SearchProvider, *works: Callable[[SearchProvider], Awaitable[T]]) -> list[T]:
    async def go() -> list[T]:
        try:
            return [await work(search) for work in works]
        finally:
            await search.close()

    return asyncio.run(go())


def text(
    query: str = "velmora", num_hits: int = 3
) -> Callable[[SearchProvider], Awaitable[object]]:
    return lambda search: search.search_text(query, num_hits=num_hits)


async def everything(search: SearchProvider) -> list[object]:
    return [
        await search.search_text("velmora", num_hits=3),
        await search.search_text("dragon", num_hits=3),
        await search.search_image(PICTURE, num_hits=2),
        await search.visit("https://w.example/1"),
        await search.visit("https://w.example/none"),
    ]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_replay_answers_everything_as_the_engine_did_without_it(tmp_path: Path) -> None:
    (asked,) = run(recorded(tmp_path, engine()), everything)
    (replayed,) = run(recorded(tmp_path, None, "replay"), everything)
    assert asked == replayed == [HITS, [], [IMAGE_HIT], PAGE, Page("", "", fault="status 404")]


def test_what_is_stored_is_not_asked_again(tmp_path: Path) -> None:
    run(recorded(tmp_path, engine()), text())
    again = engine()
    run(recorded(tmp_path, again), text(), text("dragon"), text("dragon"))
    assert again.num_asked == 1


def test_200_searches_at_once_are_recorded_and_replayed_beside_other_work(tmp_path: Path) -> None:
    texts = [text(f"velmora {number % 150}") for number in range(200)]

    async def all_at_once(search: SearchProvider) -> tuple[list[object], int]:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        answers = await asyncio.gather(*(work(search) for work in texts))
        turning.cancel()
        return answers, turns

    inner = CountingSearch({f"velmora {number}": HITS[: number % 4] for number in range(150)})
    (first,) = run(recorded(tmp_path, inner), all_at_once)
    (second,) = run(recorded(tmp_path, None, "replay"), all_at_once)
    assert inner.num_asked == 150
    assert first[0] == second[0] == [HITS[: number % 150 % 4] for number in range(200)]
    # Were the files read in the loop, it would turn once before and once after all of them.
    assert min(first[1], second[1]) > 10


def test_a_miss_in_replay_says_how_to_record_it(tmp_path: Path) -> None:
    with pytest.raises(SearchUnavailable) as caught:
        run(recorded(tmp_path, engine(), "replay"), text("dragon"))
    assert str(caught.value) == (
        f"{tmp_path}: no stored answer of fake to the text search for 'dragon'\n"
        "  fix: run the same once with search.recording set to record_missing"
    )


def test_fewer_hits_are_served_from_more_and_more_only_where_there_are_no_others(
    tmp_path: Path,
) -> None:
    inner = engine()
    answers = run(recorded(tmp_path, inner), text(num_hits=2), text(num_hits=1), text(num_hits=3))
    assert (answers, inner.num_asked) == ([HITS[:2], HITS[:1], HITS], 2)
    replay = recorded(tmp_path, None, "replay")
    assert run(replay, text(num_hits=2)) == [HITS[:2]]
    with pytest.raises(SearchUnavailable):
        run(recorded(tmp_path, None, "replay"), text(num_hits=4))
    run(recorded(tmp_path, engine()), text(num_hits=4))
    assert run(recorded(tmp_path, None, "replay"), text(num_hits=99)) == [HITS]


def test_another_engine_has_other_answers(tmp_path: Path) -> None:
    run(recorded(tmp_path, engine()), text())
    other = RecordedSearch(None, AnswerStore(tmp_path), engine={"engine": "x"}, mode="replay")
    with pytest.raises(SearchUnavailable, match="no stored answer of x"):
        run(other, text())


def test_equal_searches_at_once_are_asked_and_paid_once(tmp_path: Path) -> None:
    inner = engine()

    async def go(search: SearchProvider) -> tuple[list[list[TextHit]], float]:
        with billed() as bill:
            asked = (search.search_text("velmora", num_hits=3) for _ in range(200))
            return await asyncio.gather(*asked), bill.usd

    ((answers, usd),) = run(recorded(tmp_path, inner), go)
    assert answers == [HITS] * 200
    assert (inner.num_asked, usd) == (1, 0.25)
    with billed() as bill:
        run(recorded(tmp_path, inner), text())
    assert bill.usd == 0.0


def test_who_looks_just_before_an_answer_is_stored_does_not_ask_again(tmp_path: Path) -> None:
    class SlowStore(AnswerStore):
        """Tells the second one who looks only later what it saw."""

        num_looks = 0
        has_answer = threading.Event()

        def find(self, key: str, *, num_hits: int) -> Answer | None:
            self.num_looks += 1
            is_second = self.num_looks == 2
            found = super().find(key, num_hits=num_hits)
            if is_second:
                assert self.has_answer.wait(60)
            return found

        def add(self, answer: Answer) -> None:
            super().add(answer)
            self.has_answer.set()

    inner = engine()
    search = RecordedSearch(inner, SlowStore(tmp_path), engine=ENGINE, mode="record_missing")

    async def twice(search: SearchProvider) -> list[object]:
        return await asyncio.gather(text()(search), text()(search))

    assert run(search, twice) == [[HITS, HITS]]
    assert inner.num_asked == 1


def test_an_outage_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(SearchUnavailable):
        run(recorded(tmp_path, FakeSearch({"velmora": HITS}, num_outages=1)), text())
    assert run(recorded(tmp_path, engine()), text()) == [HITS]


def test_who_asked_first_may_go_without_harm_to_others(tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Gated(FakeSearch):
        async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
            await gate.wait()
            return HITS

    async def go(search: SearchProvider) -> object:
        first, second = (
            asyncio.create_task(search.search_text("velmora", num_hits=3)) for _ in range(2)
        )
        while not search._asked:  # type: ignore[attr-defined]  # both are on their way
            await asyncio.sleep(0.001)
        first.cancel()
        gate.set()
        return await second

    assert run(recorded(tmp_path, Gated()), go) == [HITS]


def test_an_answer_is_on_disk_before_it_is_used(tmp_path: Path) -> None:
    async def go(search: SearchProvider) -> int:
        await search.search_text("velmora", num_hits=3)
        return len(list(tmp_path.glob("part-*.parquet")))

    assert run(recorded(tmp_path, engine()), go) == [1]


def test_the_bytes_of_the_folder_depend_on_the_answers_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    queries = ["velmora", "dragon", "mill"]
    run(recorded(one, engine()), *map(text, queries))
    for query in reversed(queries):
        run(recorded(two, engine()), text(query))
    assert len(digests(two)) == 3
    AnswerStore(two).compact()
    assert digests(one) == digests(two)
    assert len(digests(one)) == 1


def test_many_answers_are_found_in_one_file(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    for number in range(150):
        hit = StoredHit(f"T{number}", "l")
        store.add(Answer("text", request_text(ENGINE, query=f"q{number}"), 5, (hit,)))
    assert store.compact() == 150
    replay = recorded(tmp_path, None, "replay")
    found = run(replay, *[text(f"q{number}") for number in (0, 63, 64, 149)])
    assert [hits[0].title for hits in found] == ["T0", "T63", "T64", "T149"]  # type: ignore[index]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run(recorded(tmp_path, engine()), text())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SearchUnavailable, match=path.name):
        run(recorded(tmp_path, None, "replay"), text())


def test_the_answers_can_be_read_as_a_table(tmp_path: Path) -> None:
    run(recorded(tmp_path, engine()), text())
    (row,) = pq.read_table(tmp_path).to_pylist()
    assert (row["kind"], row["num_asked"], row["usd"]) == ("text", 3, 0.25)
    assert row["request"] == '{"engine": "fake", "query": "velmora"}'


def test_params_choose_recording_and_a_replay_needs_no_corpus(corpus: Path) -> None:
    record = SearchParams(recording="record_missing")
    (hits,) = run(build(record, corpus=corpus), text("velmora founded"))
    assert hits
    elsewhere = corpus.parent / "no-corpus"
    replay = SearchParams(recording="replay")
    assert run(build(replay, corpus=elsewhere), text("velmora founded")) == [hits]
    # Settings that change answers make other requests.
    longer = SearchParams(recording="replay", max_snippet_chars=999)
    with pytest.raises(SearchUnavailable, match="no stored answer of local"):
        run(build(longer, corpus=elsewhere), text("velmora founded"))


def test_pictures_can_come_from_stored_answers_and_texts_from_elsewhere(corpus: Path) -> None:
    request = request_text({"engine": "recorded"}, picture=picture_key(PICTURE))
    hit = StoredHit("T", "l", thumbnail=b"x")
    AnswerStore(corpus.parent / "search_answers").add(Answer("picture", request, ALL_HITS, (hit,)))
    both = build(SearchParams(pictures="recorded"), corpus=corpus)

    async def go(search: SearchProvider) -> tuple[object, object]:
        texts = await search.search_text("velmora", num_hits=1)
        pictures = await search.search_image(PICTURE, num_hits=4)
        with pytest.raises(SearchUnavailable, match="import-mmsearch"):
            await search.search_image(Image.new("RGB", (9, 9)), num_hits=4)
        return texts, pictures

    ((texts, pictures),) = run(both, go)
    assert texts
    assert pictures == [ImageHit("T", "l", b"x")]
