"""HybridSearch: the local engine's hits and those whose meaning is near, fused by their ranks.

Off by default. `python -m agentic_vlm.search embed` writes one vector per page beside the index, by
any sentence or CLIP-type model in a local folder; `search.dense_model` names the same folder. The
two lists are fused by reciprocal rank (Cormack et al., 2009), which needs no common scale.
"""

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tantivy
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.base import ImageHit, Page, TextHit
from agentic_vlm.search.build import ARTICLES_FOLDER
from agentic_vlm.search.local import LocalSearch
from agentic_vlm.search.text import build_analyzer, make_snippet, query_words

DENSE_FOLDER = "dense"
"""Where the vectors lie in the corpus folder."""

_VECTORS = "vectors.npy"
_CARD = "card.json"
_RANK_OFFSET = 60
_DEPTH = 50
_BATCH = 32
_MAX_CHARS = 2000

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 per text, shape (N, D)."""
        ...


class TransformersEncoder:
    """A model of the transformers library in a local folder; loaded at the first text."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        self._folder = folder
        self._lock = threading.Lock()
        self._parts: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the text features of a CLIP-type model, else the mean of the last hidden states.

        Raises:
            SearchUnavailable: there is no such model in the folder.
        """
        import torch

        with self._lock:
            tokenizer, model = self._parts = self._parts or self._load()
            inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                if hasattr(model, "get_text_features"):
                    pooled = model.get_text_features(**inputs)
                    pooled = getattr(pooled, "pooler_output", pooled)
                else:
                    hidden = model(**inputs).last_hidden_state
                    mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                    pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors: Vectors = torch.nn.functional.normalize(pooled.float(), dim=-1).numpy()
            return vectors

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            model = AutoModel.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            what = " ".join(str(error).split())[:200]
            fix = "give the folder of a model in search.dense_model, or leave it empty"
            raise SearchUnavailable(str(self._folder), what, fix) from error
        return tokenizer, model.eval()


def embed_corpus(corpus: Path, encoder: TextEncoder, *, model: str) -> int:
    """Write one vector per page of a corpus and return their number.

    Args:
        corpus: folder that `build_index` wrote.
        encoder: makes the vectors.
        model: its name, which a search must give again.
    """
    table = pq.read_table(corpus / ARTICLES_FOLDER, columns=["title", "text"])
    pages = zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    texts = [f"{title}\n{text[:_MAX_CHARS]}" for title, text in pages]
    folder = corpus / DENSE_FOLDER
    folder.mkdir(exist_ok=True)
    vectors: NDArray[np.float16] | None = None
    for start in range(0, len(texts), _BATCH):
        batch = encoder.encode(texts[start : start + _BATCH])
        if vectors is None:
            shape = (len(texts), batch.shape[1])
            vectors = open_memmap(folder / _VECTORS, "w+", dtype=np.float16, shape=shape)
        vectors[start : start + len(batch)] = batch
    if vectors is None:
        np.save(folder / _VECTORS, np.zeros((0, 0), dtype=np.float16))
    card = {"model": model, "num_pages": len(texts)}
    (folder / _CARD).write_text(json.dumps(card, sort_keys=True) + "\n")
    return len(texts)


@dataclass(frozen=True, slots=True)
class _Pages:
    vectors: NDArray[np.float16]
    table: pa.Table
    analyzer: tantivy.TextAnalyzer


class HybridSearch:
    """Asks the local engine and the vectors, and fuses the two lists of pages."""

    def __init__(
        self,
        local: LocalSearch,
        corpus: Path,
        *,
        encoder: TextEncoder,
        model: str,
        max_snippet_chars: int,
    ) -> None:
        """Keep the parts; nothing is opened. `local` is closed with this one."""
        self._local = local
        self._corpus = corpus
        self._encoder = encoder
        self._model = model
        self._max_snippet_chars = max_snippet_chars
        self._lock = threading.Lock()
        self._pages: _Pages | None = None

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return the pages that are best in both lists together."""
        words = await self._local.search_text(query, num_hits=max(_DEPTH, num_hits))
        if num_hits <= 0 or not query.strip():
            return []
        near = await asyncio.to_thread(self._nearest, query, max(_DEPTH, num_hits))
        hits: dict[tuple[str, str], TextHit] = {}
        scores: dict[tuple[str, str], float] = {}
        for found in (words, near):
            for rank, hit in enumerate(found, start=1):
                page = (hit.link, hit.title)
                # The first list has the better excerpts: they show the words that were asked for.
                hits.setdefault(page, hit)
                scores[page] = scores.get(page, 0.0) + 1 / (_RANK_OFFSET + rank)
        best = sorted(hits, key=lambda page: (-round(scores[page], 9), page))
        return [hits[page] for page in best[:num_hits]]

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Ask the local engine."""
        return await self._local.search_image(image, num_hits=num_hits)

    async def visit(self, url: str) -> Page:
        """Ask the local engine."""
        return await self._local.visit(url)

    async def close(self) -> None:
        """Close the local engine and drop the vectors."""
        await self._local.close()
        self._pages = None

    def _nearest(self, query: str, num: int) -> list[TextHit]:
        pages = self._open()
        if not len(pages.vectors):
            return []
        asked = self._encoder.encode([query.encode("utf-8", "ignore").decode()])[0]
        scores = pages.vectors.astype(np.float32) @ asked
        rows = np.argsort(-scores, kind="stable")[:num]
        weights = dict.fromkeys(query_words(pages.analyzer, query), 1.0)
        return [self._hit(pages, int(row), weights) for row in rows]

    def _hit(self, pages: _Pages, row: int, weights: dict[str, float]) -> TextHit:
        page = pages.table.slice(row, 1).to_pylist()[0]
        snippet = make_snippet(
            pages.analyzer, page["text"], weights=weights, max_chars=self._max_snippet_chars
        )
        return TextHit(page["title"], page["link"], snippet, page["date"])

    def _open(self) -> _Pages:
        with self._lock:
            if self._pages is None:
                self._pages = self._read()
            return self._pages

    def _read(self) -> _Pages:
        folder = self._corpus / DENSE_FOLDER
        fix = f"run `python -m agentic_vlm.search embed --model {self._model}` for this corpus"
        try:
            card = json.loads((folder / _CARD).read_text())
            vectors = np.load(folder / _VECTORS, mmap_mode="r" if card["num_pages"] else None)
            table = pq.read_table(self._corpus / ARTICLES_FOLDER)
        except (OSError, ValueError, KeyError) as error:
            raise SearchUnavailable(str(folder), " ".join(str(error).split()), fix) from error
        if card["model"] != self._model or len(vectors) != table.num_rows:
            what = f"{len(vectors)} vectors of {card['model']} for {table.num_rows} pages"
            raise SearchUnavailable(str(folder), what, fix)
        return _Pages(vectors, table, build_analyzer())
