"""Text search engines behind one function each: ours and the libraries it is compared with."""

import asyncio
import importlib.util
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import folder_mb, report
from passages import Passage

from agentic_vlm.search import LocalSearch, build_index

RANKS = 10
"""Hits that every engine is asked for."""

Find = Callable[[str], list[str]]
"""A query to the ids of the best passages."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine with its index."""

    find: Find
    size_mb: float
    """Of the index, MB; of what it holds in memory where it has no files."""


def build_ours(passages: Sequence[Passage], folder: Path) -> Built:
    """Build the engine of this project."""
    build_index(passages, [], folder / "corpus")
    search = LocalSearch(folder / "corpus", max_snippet_chars=160, max_distance=14)
    runner = asyncio.Runner()

    def find(query: str) -> list[str]:
        return [hit.link for hit in runner.run(search.search_text(query, num_hits=RANKS))]

    find("warm up")
    return Built(find, folder_mb(folder / "corpus" / "text_index"))


def build_tantivy(passages: Sequence[Passage], folder: Path) -> Built:
    """Build tantivy as its documentation does: one text field with English stems."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name="en_stem")
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    index = tantivy.Index(builder.build(), path=str(folder))
    writer = index.writer(heap_size=1_000_000_000, num_threads=1)
    for one in passages:
        body = f"{one.title}\n{one.text}"
        writer.add_document(tantivy.Document(body=body, id=one.article_id))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def find(query: str) -> list[str]:
        parsed = index.parse_query_lenient(query, ["body"])[0]
        hits = searcher.search(parsed, RANKS).hits
        return [searcher.doc(address)["id"][0] for _, address in hits]

    return Built(find, folder_mb(folder))


def build_bm25s(passages: Sequence[Passage], folder: Path) -> Built:
    """Build bm25s with stems and its English stop words."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    texts = [f"{one.title}\n{one.text}" for one in passages]
    index = bm25s.BM25(method="lucene")
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
    index.index(tokens, show_progress=False)
    index.save(str(folder))

    def find(query: str) -> list[str]:
        asked = bm25s.tokenize(
            [query], stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
        )
        if not asked[0]:
            return []
        rows, scores = index.retrieve(asked, k=RANKS, show_progress=False)
        pairs = zip(rows[0], scores[0], strict=True)
        return [passages[int(row)].article_id for row, score in pairs if score > 0]

    return Built(find, folder_mb(folder))


def build_rank_bm25(passages: Sequence[Passage], folder: Path) -> Built:
    """Build rank-bm25, which knows neither stems nor stop words, on lower-case words."""
    del folder
    from rank_bm25 import BM25Okapi

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    index = BM25Okapi([_words(f"{one.title} {one.text}") for one in passages])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    def find(query: str) -> list[str]:
        scores = index.get_scores(_words(query))
        best = np.argsort(-scores, kind="stable")[:RANKS]
        return [passages[int(row)].article_id for row in best if scores[row] > 0]

    return Built(find, grown / 1e3)


def _words(text: str) -> list[str]:
    return "".join(one if one.isalnum() else " " for one in text.lower()).split()


def build_lancedb(passages: Sequence[Passage], folder: Path) -> Built:
    """Build the full-text index of LanceDB with stems and stop words."""
    import lancedb

    rows = [{"id": one.article_id, "body": f"{one.title}\n{one.text}"} for one in passages]
    table = lancedb.connect(folder).create_table("passages", rows)
    table.create_fts_index(
        "body", use_tantivy=False, language="English", stem=True, remove_stop_words=True
    )

    def find(query: str) -> list[str]:
        hits = table.search(query, query_type="fts").limit(RANKS).select(["id"]).to_list()
        return [hit["id"] for hit in hits]

    return Built(find, folder_mb(folder))


ENGINES: dict[str, tuple[str, Callable[[Sequence[Passage], Path], Built]]] = {
    "ours": ("agentic_vlm", build_ours),
    "tantivy": ("tantivy", build_tantivy),
    "bm25s": ("bm25s", build_bm25s),
    "rank-bm25": ("rank_bm25", build_rank_bm25),
    "lancedb": ("lancedb", build_lancedb),
}


def installed_engines(names: Sequence[str]) -> Iterator[tuple[str, Callable[..., Built]]]:
    """Yield name and builder of the engines that can be imported; name the others."""
    for name in names:
        module, build = ENGINES[name]
        if importlib.util.find_spec(module) is None:
            report(engine=name, left_out=f"{module} is not installed")
        else:
            yield name, build
