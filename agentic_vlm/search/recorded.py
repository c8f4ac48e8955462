"""RecordedSearch: answers from the store first, and from an engine only where that is wanted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from PIL import Image

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.answers import (
    Answer,
    AnswerStore,
    Kind,
    StoredHit,
    request_key,
    request_text,
)
from agentic_vlm.search.base import ImageHit, Page, SearchProvider, TextHit
from agentic_vlm.search.meter import billed
from agentic_vlm.search.pictures import picture_digest

Mode = Literal["replay", "record_missing"]

_MAX_SHOWN_CHARS = 80


class RecordedSearch:
    """Wraps an engine. Equal requests that are on their way together are asked once."""

    def __init__(
        self,
        inner: SearchProvider | None,
        store: AnswerStore,
        *,
        engine: Mapping[str, object],
        mode: Mode,
    ) -> None:
        """Keep the parts; nothing is opened.

        Args:
            inner: whom to ask for what is not stored; not needed for `replay`.
            store: the answers.
            engine: name and settings that change answers; part of every request.
            mode: whether to ask for what is missing.
        """
        self._inner = inner
        self._store = store
        self._engine = dict(engine)
        self._mode = mode
        self._asked: dict[tuple[str, int], asyncio.Task[Answer]] = {}
        self._is_closed = False

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return the stored hits, or record what the engine answers."""
        query = query.encode("utf-8", "ignore").decode().strip()

        async def ask(inner: SearchProvider) -> tuple[StoredHit, ...]:
            hits = await inner.search_text(query, num_hits=num_hits)
            return tuple(StoredHit(hit.title, hit.link, hit.snippet, hit.date) for hit in hits)

        request = request_text(self._engine, query=query)
        answer = await self._answer("text", request, num_hits, query, ask)
        return [
            TextHit(hit.title, hit.link, hit.snippet, hit.date)
            for hit in answer.hits[: max(0, num_hits)]
        ]

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Return the stored hits, or record what the engine answers."""

        async def ask(inner: SearchProvider) -> tuple[StoredHit, ...]:
            hits = await inner.search_image(image, num_hits=num_hits)
            return tuple(StoredHit(hit.title, hit.link, thumbnail=hit.thumbnail) for hit in hits)

        digest = await asyncio.to_thread(picture_digest, image)
        request = request_text(self._engine, picture=digest)
        shown = f"picture {digest[:12]} of {image.width} x {image.height} px"
        answer = await self._answer("picture", request, num_hits, shown, ask)
        return [
            ImageHit(hit.title, hit.link, hit.thumbnail) for hit in answer.hits[: max(0, num_hits)]
        ]

    async def visit(self, url: str) -> Page:
        """Return the stored page, or record what is there now."""
        url = url.encode("utf-8", "ignore").decode().strip()
        faults: list[str] = []

        async def ask(inner: SearchProvider) -> tuple[StoredHit, ...]:
            page = await inner.visit(url)
            faults.append(page.fault)
            return (StoredHit(page.title, url, page.text, page.date),)

        request = request_text(self._engine, url=url)
        answer = await self._answer("page", request, 1, url, ask, faults)
        (hit,) = answer.hits
        return Page(hit.title, hit.snippet, hit.date, answer.fault)

    async def close(self) -> None:
        """Wait for what was asked and may be paid for, close the engine and tidy the folder."""
        self._is_closed = True
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        if self._inner is not None:
            await self._inner.close()
        await asyncio.to_thread(self._store.close)

    async def _answer(
        self,
        kind: Kind,
        request: str,
        num_hits: int,
        shown: str,
        ask: Callable[[SearchProvider], Awaitable[tuple[StoredHit, ...]]],
        faults: list[str] | None = None,
    ) -> Answer:
        if self._is_closed:
            fix = "build another provider; a closed one stays closed"
            raise SearchUnavailable("recorded search", "it is closed", fix)
        key = request_key(kind, request)

        async def find_or_record() -> Answer:
            found = await asyncio.to_thread(self._store.find, key, num_hits=num_hits)
            if found is not None:
                return found
            if self._mode == "replay" or self._inner is None:
                raise self._missing(kind, shown)
            with billed() as bill:
                hits = await ask(self._inner)
            fault = faults[0] if faults else ""
            answer = Answer(kind, request, num_hits, hits, fault, bill.usd)
            await asyncio.to_thread(self._store.add, answer)
            return answer

        # Whoever asks first starts the look-up and gets its bill; it goes on when that one is
        # cancelled, because others may wait for it and it may have been paid for. The look-up is
        # part of it: who had looked before an answer was stored would else ask again afterwards.
        task = self._asked.get((key, num_hits))
        if task is None:
            task = asyncio.create_task(find_or_record())
            self._asked[key, num_hits] = task
            task.add_done_callback(lambda _: self._asked.pop((key, num_hits), None))
        return await asyncio.shield(task)

    def _missing(self, kind: Kind, shown: str) -> SearchUnavailable:
        shown = shown if len(shown) <= _MAX_SHOWN_CHARS else shown[:_MAX_SHOWN_CHARS] + "..."
        engine = self._engine.get("engine", "")
        what = f"no stored answer of {engine} to the {kind} search for {shown!r}"
        if engine == "recorded":
            fix = "import answers: python -m agentic_vlm.search import-mmsearch --help"
        else:
            fix = "run the same once with search.recording set to record_missing"
        return SearchUnavailable(str(self._store.folder), what, fix)
