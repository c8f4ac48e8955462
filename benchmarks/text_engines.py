"""Text search engines behind two functions each: ours and the libraries it is compared with.

One builds an index in a folder; the other opens that folder, in any process, and answers queries.
"""

import asyncio
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import report
from passages import Passage

from agentic_vlm.search import LocalSearch, build_index

RANKS = 10
"""Hits that every engine is asked for."""
_IDS = "ids.npy"
_WORDS = "words.txt"

Find = Callable[[str], list[str]]
"""A query to the ids of the best passages."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine."""

    module: str
    """What must be installed."""
    build: Callable[[Sequence[Passage], Path], None]
    """Writes an index into an empty folder."""
    open: Callable[[Path], Find]
    """Opens that folder."""
    index: str = ""
    """Where in it the index lies, if something else lies beside it."""


def build_ours(passages: Sequence[Passage], folder: Path) -> None:
    """Build the engine of this project."""
    build_index(passages, [], folder / "corpus")


def open_ours(folder: Path) -> Find:
    """Open the engine of this project, which it does at its first search."""
    search = LocalSearch(folder / "corpus", max_snippet_chars=160, max_distance=14)
    runner = asyncio.Runner()

    def find(query: str) -> list[str]:
        return [hit.link for hit in runner.run(search.search_text(query, num_hits=RANKS))]

    find("warm up")
    return find


def build_tantivy(passages: Sequence[Passage], folder: Path) -> None:
    """Build tantivy as its documentation does: one text field with English stems."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name="en_stem")
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    index = tantivy.Index(builder.build(), path=str(folder))
    writer = index.writer(heap_size=1_000_000_000, num_threads=1)
    for one in passages:
        writer.add_document(tantivy.Document(body=_body(one), id=one.article_id))
    writer.commit()
    writer.wait_merging_threads()


def open_tantivy(folder: Path) -> Find:
    """Open it."""
    import tantivy

    index = tantivy.Index.open(str(folder))
    index.reload()
    searcher = index.searcher()

    def find(query: str) -> list[str]:
        parsed = index.parse_query_lenient(query, ["body"])[0]
        hits = searcher.search(parsed, RANKS).hits
        return [searcher.doc(address)["id"][0] for _, address in hits]

    return find


def build_bm25s(passages: Sequence[Passage], folder: Path) -> None:
    """Build bm25s with stems and its English stop words."""
    import bm25s
    import Stemmer

    index = bm25s.BM25(method="lucene")
    tokens = bm25s.tokenize(
        [_body(one) for one in passages],
        stopwords="en",
        stemmer=Stemmer.Stemmer("english"),
        show_progress=False,
    )
    index.index(tokens, show_progress=False)
    index.save(str(folder))
    np.save(folder / _IDS, np.array([one.article_id for one in passages]))


def open_bm25s(folder: Path) -> Find:
    """Open it in memory, as its documentation does where there is enough."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25.load(str(folder))
    ids = np.load(folder / _IDS)

    def find(query: str) -> list[str]:
        asked: Any = bm25s.tokenize(
            [query], stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
        )
        if not asked[0]:
            return []
        rows, scores = index.retrieve(asked, k=RANKS, show_progress=False)
        pairs = zip(rows[0], scores[0], strict=True)
        return [str(ids[int(row)]) for row, score in pairs if score > 0]

    return find


def build_rank_bm25(passages: Sequence[Passage], folder: Path) -> None:
    """Write the lower-case words of each passage: rank-bm25 has no file format of its own."""
    with (folder / _WORDS).open("w", encoding="utf-8") as words:
        words.writelines(" ".join(_words(_body(one))) + "\n" for one in passages)
    np.save(folder / _IDS, np.array([one.article_id for one in passages]))


def open_rank_bm25(folder: Path) -> Find:
    """Build rank-bm25, which knows neither stems nor stop words, in memory."""
    from rank_bm25 import BM25Okapi

    with (folder / _WORDS).open(encoding="utf-8") as words:
        index = BM25Okapi([line.split() for line in words])
    ids = np.load(folder / _IDS)

    def find(query: str) -> list[str]:
        scores = index.get_scores(_words(query))
        best = np.argsort(-scores, kind="stable")[:RANKS]
        return [str(ids[row]) for row in best if scores[row] > 0]

    return find


def build_lancedb(passages: Sequence[Passage], folder: Path) -> None:
    """Build the full-text index of LanceDB with stems and stop words."""
    import lancedb

    rows = [{"id": one.article_id, "body": _body(one)} for one in passages]
    table = lancedb.connect(folder).create_table("passages", rows)
    table.create_fts_index(
        "body", use_tantivy=False, language="English", stem=True, remove_stop_words=True
    )


def open_lancedb(folder: Path) -> Find:
    """Open it."""
    import lancedb

    table = lancedb.connect(folder).open_table("passages")

    def find(query: str) -> list[str]:
        hits = table.search(query, query_type="fts").limit(RANKS).select(["id"]).to_list()
        return [hit["id"] for hit in hits]

    return find


def _body(one: Passage) -> str:
    return f"{one.title}\n{one.text}"


def _words(text: str) -> list[str]:
    return "".join(one if one.isalnum() else " " for one in text.lower()).split()


ENGINES: dict[str, Engine] = {
    "ours": Engine("agentic_vlm", build_ours, open_ours, "corpus/text_index"),
    "tantivy": Engine("tantivy", build_tantivy, open_tantivy),
    "lancedb": Engine("lancedb", build_lancedb, open_lancedb),
    "bm25s": Engine("bm25s", build_bm25s, open_bm25s),
    "rank-bm25": Engine("rank_bm25", build_rank_bm25, open_rank_bm25),
}


def installed_engines(names: Sequence[str]) -> Iterator[tuple[str, Engine]]:
    """Yield the engines that can be imported, with their names; name the others."""
    for name in names:
        engine = ENGINES[name]
        if importlib.util.find_spec(engine.module) is None:
            report(engine=name, left_out=f"{engine.module} is not installed")
        else:
            yield name, engine
