"""Outages on purpose."""

import asyncio

import pytest

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search import FakeSearch, FlakySearch, TextHit

HITS = [TextHit("Velmora", "l", "a mill")]


def fates(order: range, *, share: float = 0.15, seed: int = 0) -> tuple[dict[int, bool], int]:
    """Ask one query per number and tell which were answered."""
    queries = {f"q{number}": HITS for number in order}
    search = FlakySearch(FakeSearch(queries), share=share, seed=seed)

    async def ask(number: int) -> bool:
        try:
            return await search.search_text(f"q{number}", num_hits=1) == HITS
        except SearchUnavailable:
            return False

    async def go() -> list[bool]:
        return await asyncio.gather(*(ask(number) for number in order))

    answered = dict(zip(order, asyncio.run(go()), strict=True))
    assert search.num_searches == len(order)
    return answered, search.num_outages


def test_the_wanted_share_of_searches_fails_whatever_their_order() -> None:
    answered, num_outages = fates(range(1000))
    assert sum(not is_answered for is_answered in answered.values()) == num_outages
    assert 120 <= num_outages <= 180
    assert fates(range(999, -1, -1)) == (answered, num_outages)
    assert fates(range(1000), seed=1)[0] != answered


@pytest.mark.parametrize(("share", "num"), [(0.0, 0), (1.0, 100)])
def test_none_or_all_of_them_fail(share: float, num: int) -> None:
    assert fates(range(100), share=share)[1] == num


def test_a_search_that_failed_can_be_made_again() -> None:
    search = FlakySearch(FakeSearch({"q": HITS}), share=0.5, seed=0)

    async def tries() -> int:
        for number in range(100):
            try:
                await search.search_text("q", num_hits=1)
            except SearchUnavailable:
                continue
            return number
        raise AssertionError("it never works")

    assert [asyncio.run(tries()) for _ in range(20)].count(0) < 20
