"""Who answers a query: pages for a text, pages for a picture, the text of a page."""

import os
from collections.abc import Iterator
from pathlib import Path

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.params import SearchParams
from agentic_vlm.search.answers import AnswerStore
from agentic_vlm.search.base import ImageHit, Page, SearchProvider, TextHit
from agentic_vlm.search.build import build_index
from agentic_vlm.search.dense import HybridSearch, TransformersEncoder
from agentic_vlm.search.dialects import Brave, Dialect, JsonForm, SerpApi, Serper
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.search.live import LiveSearch
from agentic_vlm.search.local import LocalSearch
from agentic_vlm.search.outages import FlakySearch
from agentic_vlm.search.pages import PageReader
from agentic_vlm.search.picture_host import PictureHost
from agentic_vlm.search.recorded import RecordedSearch
from agentic_vlm.search.split import SplitSearch

__all__ = [
    "FakeSearch",
    "FlakySearch",
    "ImageHit",
    "LiveSearch",
    "LocalSearch",
    "Page",
    "RecordedSearch",
    "SearchProvider",
    "TextHit",
    "build",
    "build_index",
    "find_missing",
]

_OFFLINE = ("local", "fake", "recorded")


def build(params: SearchParams, *, corpus: Path) -> SearchProvider:
    """Return the provider that the params name; nothing is opened before the first search.

    Args:
        params: chooses engines and limits.
        corpus: folder of the local engine. Stored answers lie beside it, in `params.answers`.

    Raises:
        SearchUnavailable: the address of a server is not in the environment.
    """
    provider = _whole(params, corpus)
    if not params.outage_share:
        return provider
    return FlakySearch(provider, share=params.outage_share, seed=0)


def _whole(params: SearchParams, corpus: Path) -> SearchProvider:
    store = AnswerStore(corpus.parent / params.answers)
    texts = _recorded(params.type, params, corpus, store)
    if params.pictures in ("same", params.type):
        return texts
    return SplitSearch(texts, _recorded(params.pictures, params, corpus, store))


def find_missing(params: SearchParams, *, corpus: Path) -> Iterator[SearchUnavailable]:
    """Yield one error per environment variable or stored answers that a search would miss.

    Nothing is sent. Whether there is a corpus is not looked at: a stage makes it.
    """
    if params.recording == "replay" or params.pictures == "recorded":
        yield from _missing_answers(AnswerStore(corpus.parent / params.answers))
    engines = [params.type, *([] if params.pictures == "same" else [params.pictures])]
    for name in dict.fromkeys(engines):
        if name in _OFFLINE or params.recording == "replay":
            continue
        try:
            dialect = _dialect(name)
        except SearchUnavailable as error:
            yield error
            continue
        if dialect.is_key_needed and not os.environ.get(dialect.key_variable, "").strip():
            fix = f"export {dialect.key_variable}=..."
            yield SearchUnavailable(dialect.key_variable, f"search by {name} needs a key", fix)
    by_address = engines[-1] in ("serper", "serpapi") and params.recording != "replay"
    if by_address and not os.environ.get("AGENTIC_PICTURE_HOST_URL"):
        what = f"picture search by {engines[-1]} needs pictures on a public server"
        fix = "export AGENTIC_PICTURE_HOST_URL, or set search.pictures to local or recorded"
        yield SearchUnavailable("AGENTIC_PICTURE_HOST_URL", what, fix)


def _missing_answers(store: AnswerStore) -> Iterator[SearchUnavailable]:
    try:
        num_answers = store.count()
    except SearchUnavailable as damage:
        yield damage
        return
    if not num_answers:
        what = "no stored answers, and params.yaml wants them replayed"
        fix = "run once with search.recording record_missing, or `dvc pull` the folder"
        yield SearchUnavailable(str(store.folder), what, fix)


def _recorded(name: str, params: SearchParams, corpus: Path, store: AnswerStore) -> SearchProvider:
    engine = {"engine": name}
    if name == "recorded":
        return RecordedSearch(None, store, engine=engine, mode="replay")
    if params.recording == "off":
        return _engine(name, params, corpus)
    if name == "local":
        settings = ("max_snippet_chars", "max_phash_distance", "dense_model")
        engine |= {key: getattr(params, key) for key in settings}
    # Nothing is asked in replay, so neither a corpus nor an address is needed.
    inner = None if params.recording == "replay" else _engine(name, params, corpus)
    return RecordedSearch(inner, store, engine=engine, mode=params.recording)


def _engine(name: str, params: SearchParams, corpus: Path) -> SearchProvider:
    match name:
        case "local":
            return _local(params, corpus)
        case "fake":
            return FakeSearch()
    address = os.environ.get("AGENTIC_PICTURE_HOST_URL", "")
    return LiveSearch(
        _dialect(name),
        params.live,
        pages=PageReader(max_bytes=int(params.live.max_answer_mb * 1e6)),
        host=PictureHost(address) if address else None,
    )


def _local(params: SearchParams, corpus: Path) -> SearchProvider:
    local = LocalSearch(
        corpus,
        max_snippet_chars=params.max_snippet_chars,
        max_distance=params.max_phash_distance,
    )
    if not params.dense_model:
        return local
    return HybridSearch(
        local,
        corpus,
        encoder=TransformersEncoder(Path(params.dense_model)),
        model=params.dense_model,
        max_snippet_chars=params.max_snippet_chars,
    )


def _dialect(name: str) -> Dialect:
    match name:
        case "serper":
            return Serper()
        case "serpapi":
            return SerpApi()
        case "brave":
            return Brave()
        case "json" if endpoint := os.environ.get("AGENTIC_SEARCH_URL", ""):
            return JsonForm(endpoint)
        case "json":
            fix = "export AGENTIC_SEARCH_URL=http://HOST:PORT/PATH"
            raise SearchUnavailable("AGENTIC_SEARCH_URL", "search.type json needs it", fix)
    raise ValueError(f"there is no search engine {name}")
