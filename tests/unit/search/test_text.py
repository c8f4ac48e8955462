"""Words, queries and snippets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.search.text import build_analyzer, make_snippet, query_words

ANALYZER = build_analyzer()
LONG = (
    "The valley is known for its wool. Its rivers freeze in winter. "
    "Velmora was founded in 1731 by two sisters. The market opens on Mondays. "
    "Nobody has counted the bridges since the flood."
)


def snippet(text: str, *words: str, max_chars: int) -> str:
    weights = dict.fromkeys(query_words(ANALYZER, " ".join(words)), 1.0)
    return make_snippet(ANALYZER, text, weights=weights, max_chars=max_chars)


def test_a_query_loses_stop_words_case_accents_and_endings() -> None:
    assert query_words(ANALYZER, "When was the Café founded?") == ["cafe", "found"]


def test_a_query_of_stop_words_keeps_them() -> None:
    assert query_words(ANALYZER, "The Who") == ["the", "who"]


def test_a_query_is_cut_to_64_words() -> None:
    assert len(query_words(ANALYZER, " ".join(f"w{number}" for number in range(500)))) == 64


def test_a_short_text_is_its_own_snippet_on_one_line() -> None:
    assert snippet("red\n\n  house", "house", max_chars=20) == "red house"


def test_a_snippet_begins_with_the_sentence_of_the_match() -> None:
    found = snippet(LONG, "Velmora", "founded", max_chars=60)
    assert found == "Velmora was founded in 1731 by two sisters. The market opens"


def test_a_snippet_reaches_back_where_the_text_ends() -> None:
    found = snippet(LONG, "flood", max_chars=60)
    assert found.endswith("since the flood.")
    assert len(found) > 40


def test_a_snippet_prefers_the_place_with_more_words_of_the_query() -> None:
    text = "Wool is sold here. " * 10 + "Velmora sells wool."
    assert "Velmora" in snippet(text, "wool", "velmora", max_chars=40)


def test_a_snippet_without_a_match_is_the_beginning() -> None:
    assert LONG.startswith(snippet(LONG, "dragon", max_chars=50))


@given(st.text(), st.text(), st.integers(min_value=1, max_value=60))
def test_a_snippet_never_exceeds_its_limit(text: str, query: str, max_chars: int) -> None:
    assert len(snippet(text, query, max_chars=max_chars)) <= max_chars


WORDS = st.lists(st.sampled_from(["velmora", "stone.", "(old)", "x-12", "founded"]), max_size=60)


@given(WORDS, st.integers(min_value=10, max_value=80))
def test_a_snippet_holds_whole_words_in_their_order(words: list[str], max_chars: int) -> None:
    text = " ".join(words)
    assert f" {snippet(text, 'velmora', '12', max_chars=max_chars)} " in f" {text} " or not words


@pytest.mark.parametrize("query", ["", "  ", "?!", "\ud800", "\x00", "🎉"])
def test_a_query_without_words_has_no_words(query: str) -> None:
    assert query_words(ANALYZER, query) == []
