"""LocalSearch: BM25 over articles and a gallery of pictures, in this process, without a network."""

import asyncio
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import tantivy
from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.base import ImageHit, Page, TextHit
from agentic_vlm.search.build import (
    IMAGES_FOLDER,
    INDEX_FOLDER,
    MANIFEST,
    WINDOWS_FOLDER,
    check_manifest,
)
from agentic_vlm.search.pictures import Gallery, picture_signature
from agentic_vlm.search.text import (
    TOKENIZER,
    build_analyzer,
    build_query,
    clean_text,
    make_snippet,
    query_words,
    word_weight,
)
from agentic_vlm.search.window_gallery import WindowGallery, open_windows

_NUM_THREADS = 2
# Equal scores at the cut would otherwise be decided before they are sorted by article id.
_NUM_EXTRA_HITS = 32
# Measured: see docs/search.md.
_MIN_FIT = 0.9
_FIX = "rerun the stage that wrote the corpus, or `dvc checkout` the folder"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Engine:
    index: tantivy.Index
    searcher: tantivy.Searcher
    analyzer: tantivy.TextAnalyzer
    gallery: Gallery
    windows: WindowGallery | None
    titles: list[str]
    links: list[str]
    pngs: pa.ChunkedArray


class LocalSearch:
    """Answers from a corpus folder. Opens it at the first search; searches run in threads."""

    def __init__(self, corpus: Path, *, max_snippet_chars: int, max_distance: int) -> None:
        """Keep the settings; nothing is opened.

        Args:
            corpus: folder that `build_index` wrote.
            max_snippet_chars: most characters of a snippet.
            max_distance: largest distance of a similar picture, as in `Gallery.nearest`.
        """
        self._corpus = corpus
        self._max_snippet_chars = max_snippet_chars
        self._max_distance = max_distance
        self._lock = threading.Lock()
        self._engine: _Engine | None = None
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="search")
        self._is_closed = False

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return the best pages by BM25; words of the title count double."""
        return await self._run(lambda engine: self._find_text(engine, query, num_hits))

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Return the pages with the most similar pictures; none where nothing is similar."""
        return await self._run(lambda engine: self._find_image(engine, image, num_hits))

    async def visit(self, url: str) -> Page:
        """Return the article at an address; the corpus is all there is."""
        return await self._run(lambda engine: self._find_page(engine, url))

    async def close(self) -> None:
        """Stop the threads and drop the index."""
        self._is_closed = True
        self._engine = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, find: Callable[[_Engine], T]) -> T:
        if self._is_closed:
            fix = "build another provider; a closed one stays closed"
            raise SearchUnavailable(f"search in {self._corpus}", "it is closed", fix)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: find(self._open()))

    def _open(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _open_engine(self._corpus)
            return self._engine

    def _find_text(self, engine: _Engine, query: str, num_hits: int) -> list[TextHit]:
        words = query_words(engine.analyzer, query)
        if not words or num_hits <= 0:
            return []
        searcher = engine.searcher
        try:
            found = searcher.search(
                build_query(engine.index.schema, words), num_hits + _NUM_EXTRA_HITS, count=False
            )
            ranked = [(-score, searcher.doc(address)) for score, address in found.hits]
            counts = {word: searcher.doc_freq("text", word) for word in words}
        except (ValueError, OSError) as error:
            raise _broken(self._corpus / INDEX_FOLDER, error) from error
        ranked.sort(key=lambda pair: (pair[0], pair[1]["rank"][0]))
        weights = {word: word_weight(count, searcher.num_docs) for word, count in counts.items()}
        return [self._text_hit(engine, document, weights) for _, document in ranked[:num_hits]]

    def _text_hit(
        self, engine: _Engine, document: tantivy.Document, weights: dict[str, float]
    ) -> TextHit:
        snippet = make_snippet(
            engine.analyzer,
            document["text"][0],
            weights=weights,
            max_chars=self._max_snippet_chars,
        )
        return TextHit(
            title=document["title"][0],
            link=document["link"][0],
            snippet=snippet,
            date=document["date"][0],
        )

    def _find_page(self, engine: _Engine, url: str) -> Page:
        query = tantivy.Query.term_query(engine.index.schema, "link", clean_text(url).strip())
        try:
            found = engine.searcher.search(query, _NUM_EXTRA_HITS, count=False)
            documents = [engine.searcher.doc(address) for _, address in found.hits]
        except (ValueError, OSError) as error:
            raise _broken(self._corpus / INDEX_FOLDER, error) from error
        if not documents:
            return Page("", "", fault="status 404")
        first = min(documents, key=lambda document: document["rank"][0])
        return Page(first["title"][0], first["text"][0], first["date"][0])

    def _find_image(self, engine: _Engine, image: Image.Image, num_hits: int) -> list[ImageHit]:
        rows: list[int]
        if engine.windows is not None:
            fits = engine.windows.nearest(image, min_score=_MIN_FIT, num=num_hits)
            rows = [fit.row for fit in fits]
        else:
            near = engine.gallery.nearest(
                picture_signature(image), max_distance=self._max_distance, num=num_hits
            )
            rows = [one.row for one in near]
        return [
            ImageHit(
                title=engine.titles[row], link=engine.links[row], thumbnail=engine.pngs[row].as_py()
            )
            for row in rows
        ]


def _broken(place: Path, error: Exception) -> SearchUnavailable:
    # The engine's own messages run over many lines.
    what = " ".join(str(error).split())[:200] or type(error).__name__
    return SearchUnavailable(str(place), what, _FIX)


def _open_engine(corpus: Path) -> _Engine:
    folder = corpus / INDEX_FOLDER
    try:
        check_manifest(folder)
        index = _open_index(folder)
        searcher = index.searcher()
    except (ValueError, OSError) as error:
        raise _broken(folder, error) from error
    folder = corpus / IMAGES_FOLDER
    try:
        table = pq.read_table(folder, page_checksum_verification=True)
        gallery = Gallery(table["phash"].to_pylist())
        titles, links = table["title"].to_pylist(), table["link"].to_pylist()
    except (ValueError, OSError, KeyError) as error:
        raise _broken(folder, error) from error
    windows = _open_windows(corpus / WINDOWS_FOLDER)
    return _Engine(index, searcher, build_analyzer(), gallery, windows, titles, links, table["png"])


def _open_windows(folder: Path) -> WindowGallery | None:
    if not folder.exists():
        return None
    try:
        check_manifest(folder)
        return open_windows(folder)
    except (ValueError, OSError) as error:
        raise _broken(folder, error) from error


def _open_index(folder: Path) -> tantivy.Index:
    # Opening an index writes a lock file beside it and watches its folder. The corpus is tracked
    # by content and may be read-only, so the engine gets links to the files in a folder of its own;
    # they are mapped into memory and the folder is not needed any more.
    # Its watcher may still write a lock file while the folder goes; that must not fail a search.
    with tempfile.TemporaryDirectory(prefix="search-", ignore_cleanup_errors=True) as scratch:
        for path in folder.iterdir():
            if path.name != MANIFEST and not path.name.startswith("."):
                Path(scratch, path.name).symlink_to(path.resolve())
        index = tantivy.Index.open(scratch)
        index.config_reader(reload_policy="manual")
        index.reload()
        index.register_tokenizer(TOKENIZER, build_analyzer())
    return index
