"""Words of a text, queries made of words, and snippets around the words that match."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tantivy

TOKENIZER = "words"
"""Name under which the index knows `build_analyzer`."""
TITLE_BOOST = 2.0
"""A word in the title counts this many times; titles are names and names are what is asked for."""
_MAX_QUERY_CHARS = 4096
_MAX_QUERY_WORDS = 64
# A model asks "the year in which Velmora was founded"; without this list the small words would
# match nearly every page. They stay in the index, for queries that hold nothing else ("The Who").
_SMALL_WORDS = (
    "a an and are as at be by did do doe for from had has have how i in is it its me of on or "
    "that the their there these they this to was were what when where which who whose whi will "
    "with"
)
_STOP_WORDS = frozenset(_SMALL_WORDS.split())


def build_analyzer() -> tantivy.TextAnalyzer:
    """Return the analyzer of index and queries: words, lower case, no accents, English stems."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(40))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def clean_text(text: str) -> str:
    """Return the text without what UTF-8 cannot hold, such as lone surrogates."""
    return text.encode("utf-8", "ignore").decode("utf-8")


def query_words(analyzer: tantivy.TextAnalyzer, query: str) -> list[str]:
    """Return the distinct words of a query in order; stop words only where nothing else is left.

    Only the first 4,096 characters and 64 words are looked at: longer queries are accidents, and
    their cost would grow with every word.
    """
    words = list(dict.fromkeys(analyzer.analyze(clean_text(query[:_MAX_QUERY_CHARS]))))
    return ([word for word in words if word not in _STOP_WORDS] or words)[:_MAX_QUERY_WORDS]


def build_query(schema: tantivy.Schema, words: Sequence[str]) -> tantivy.Query:
    """Return a query for pages with any of the words, in title or text.

    Made from terms and never by the query parser, so that no text has a syntax to get wrong.
    """
    terms = []
    for word in words:
        in_title = tantivy.Query.term_query(schema, "title", word)
        boosted = tantivy.Query.boost_query(in_title, TITLE_BOOST)
        terms.append((tantivy.Occur.Should, boosted))
        terms.append((tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word)))
    return tantivy.Query.boolean_query(terms)


def word_weight(doc_freq: int, num_docs: int) -> float:
    """Return the inverse document frequency of BM25: rare words weigh more."""
    return math.log(1 + (num_docs - doc_freq + 0.5) / (doc_freq + 0.5))


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    word: str


def make_snippet(
    analyzer: tantivy.TextAnalyzer, text: str, *, weights: Mapping[str, float], max_chars: int
) -> str:
    """Return the part of a text with the heaviest set of matching words, whole words only.

    The part begins at the start of a sentence where there is room, because what a question asks
    for usually follows the name that it mentions.

    Args:
        analyzer: the analyzer of the index.
        text: the whole text of the page.
        weights: weight of each word of the query.
        max_chars: most characters of the snippet.

    Returns:
        Plain text on one line; the beginning of the text where no word matches.
    """
    text = " ".join(clean_text(text).split())
    if len(text) <= max_chars:
        return text
    matches = [
        _Match(*_whole_word(text, token), token.text)
        for token in analyzer.pre_tokenize(text).tokens
        if token.text in weights
    ]
    first, last = _best_span(matches, weights, max_chars)
    return _widen(text, first, last, max_chars)


def _whole_word(text: str, token: tantivy.Token) -> tuple[int, int]:
    """Return start and end of the text between blanks around a token: `(x-12)` for `12`."""
    end = text.find(" ", token.char_offset_from)
    return text.rfind(" ", 0, token.char_offset_from) + 1, len(text) if end < 0 else end


def _best_span(
    matches: Sequence[_Match], weights: Mapping[str, float], max_chars: int
) -> tuple[int, int]:
    """Return start and end of the matches that weigh most within `max_chars`, earliest first."""
    best, span = 0.0, (0, 0)
    for index, first in enumerate(matches):
        seen: set[str] = set()
        end = first.end
        for match in matches[index:]:
            if match.end - first.start > max_chars:
                break
            if match.word not in seen:
                seen.add(match.word)
                end = match.end
        weight = sum(weights[word] for word in sorted(seen))
        # Sums of the same words in another order must not differ by rounding.
        if weight > best + 1e-9:
            best, span = weight, (first.start, end)
    return span


def _widen(text: str, start: int, end: int, max_chars: int) -> str:
    """Return the text from `start` to `end` with as much around it as fits, cut between words."""
    sentence = max(text.rfind(mark, 0, start) for mark in (". ", "! ", "? ")) + 2
    sentence = 0 if sentence < 2 else sentence
    start = sentence if end - sentence <= max_chars else start
    stop = min(len(text), start + max_chars)
    if stop == len(text):
        border = text.find(" ", max(0, stop - max_chars - 1), start)
        start = border + 1 if border >= 0 else start
    elif text[stop] != " ":
        border = text.rfind(" ", start, stop)
        stop = border if border > start else stop
    return text[start:stop].strip()
