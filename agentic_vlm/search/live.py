"""LiveSearch: a search service on the network, asked politely and within a budget."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import TypeVar

import tenacity
from PIL import Image

from agentic_vlm.errors import SearchBudgetSpent, SearchUnavailable
from agentic_vlm.params import LiveSearchParams
from agentic_vlm.search.base import ImageHit, Page, TextHit
from agentic_vlm.search.dial import ExchangeError, Fault, anywhere
from agentic_vlm.search.dialects import Dialect, FoundPicture
from agentic_vlm.search.exchange import Ask, exchange
from agentic_vlm.search.limits import Breaker, Budget, Throttle
from agentic_vlm.search.meter import Bill, current_bill
from agentic_vlm.search.pages import PageReader
from agentic_vlm.search.picture_host import PictureHost
from agentic_vlm.search.replies import TryAgain, parse_json, read_answer, retry_after_s
from agentic_vlm.search.secrecy import hide
from agentic_vlm.vision import encode_png, to_rgb

logger = logging.getLogger(__name__)

T = TypeVar("T")
Found = TypeVar("Found", TextHit, FoundPicture)
# The thread is late first and says why; this is for a thread that never started.
_GRACE_S = 2.0
_BUSY_STATUS = frozenset({408, 425, 429})


class LiveSearch:
    """Asks one service. Searches run in threads; each ends within its deadline."""

    def __init__(
        self,
        dialect: Dialect,
        params: LiveSearchParams,
        *,
        pages: PageReader,
        host: PictureHost | None = None,
    ) -> None:
        """Keep the settings; nothing is sent, and the key is read when it is needed.

        Args:
            dialect: the service.
            params: limits.
            pages: reads the pages of visits, and thumbnails.
            host: makes pictures reachable, for services that take them by address.
        """
        self._dialect = dialect
        self._params = params
        self._pages = pages
        self._host = host
        self._throttle = Throttle(max_per_second=params.max_per_second)
        self._breaker = Breaker(max_failures=params.max_failures, cooldown_s=params.cooldown_s)
        self.budget = Budget(
            max_calls=params.max_calls, max_usd=params.max_usd, usd_per_call=params.usd_per_call
        )
        """What was asked and spent so far."""
        self._threads = ThreadPoolExecutor(params.max_concurrent, thread_name_prefix="live-search")
        self._closing = threading.Event()

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        """Return the hits of the service, in its order."""
        wanted = max(0, num_hits)
        query = " ".join(query.encode("utf-8", "ignore").decode().split())
        query = query[: self._dialect.max_query_chars]
        if not query or not wanted:
            self._check_open()
            return []

        def work(deadline: float, bill: Bill) -> list[TextHit]:
            key = self._key()
            ask = self._dialect.ask_text(query, num_hits=wanted, key=key)
            hits = self._ask(ask, self._dialect.read_text, deadline, bill)[:wanted]
            return [_without_key(hit, key) for hit in hits]

        return await self._run(work)

    async def search_image(self, image: Image.Image, *, num_hits: int) -> list[ImageHit]:
        """Return the hits whose thumbnail can be fetched, in the order of the service."""
        wanted = max(0, num_hits)

        def work(deadline: float, bill: Bill) -> list[ImageHit]:
            key = self._key()
            picture = self._presented(image, deadline)
            ask = self._dialect.ask_picture(picture, num_hits=wanted, key=key)
            found = self._ask(ask, self._dialect.read_pictures, deadline, bill)
            # Before anything is fetched: the addresses too come from the service.
            return self._fetched([_without_key(one, key) for one in found], wanted, deadline)

        return await self._run(work)

    async def visit(self, url: str) -> Page:
        """Return the readable text of a public page."""
        return await self._run(lambda deadline, _bill: self._pages.read(url, deadline=deadline))

    async def close(self) -> None:
        """Give up what is waiting; what is on its way ends with its deadline."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[float, Bill], T]) -> T:
        self._check_open()
        deadline = time.monotonic() + self._params.deadline_s
        bill = current_bill()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, lambda: work(deadline, bill))
        try:
            return await asyncio.wait_for(future, self._params.deadline_s + _GRACE_S)
        except TimeoutError:
            what = f"no free connection within {self._params.deadline_s:g} s"
            raise self._down(what, "raise search.live.max_concurrent or deadline_s") from None

    def _check_open(self) -> None:
        if self._closing.is_set():
            fix = "build another provider; a closed one stays closed"
            raise self._down("it is closed", fix)

    def _key(self) -> str:
        key = os.environ.get(self._dialect.key_variable, "").strip()
        if self._dialect.is_key_needed and not key:
            what = f"there is no key in {self._dialect.key_variable}"
            raise self._down(what, f"export {self._dialect.key_variable}=...")
        return key

    def _presented(self, image: Image.Image, deadline: float) -> bytes | str:
        png = encode_png(to_rgb(image))
        match self._dialect.takes_picture:
            case "bytes":
                return png
            case "address" if self._host is not None:
                return self._host.publish(png, deadline=deadline)
            case "address":
                fix = "export AGENTIC_PICTURE_HOST_URL, or set search.pictures to local or recorded"
                raise self._down("it takes pictures by public address only", fix)
        fix = "set search.pictures to another engine, such as local or recorded"
        raise self._down("it has no search by picture", fix)

    def _fetched(self, found: list[FoundPicture], wanted: int, deadline: float) -> list[ImageHit]:
        hits: list[ImageHit] = []
        for one in found:
            if len(hits) == wanted:
                break
            thumbnail = one.thumbnail
            if isinstance(thumbnail, str):
                thumbnail = self._pages.fetch_picture(thumbnail, deadline=deadline)
            # As in the release, a hit without its picture is left out.
            if thumbnail:
                hits.append(ImageHit(one.title, one.link, thumbnail))
        return hits

    def _ask(
        self, ask: Ask, read: Callable[[dict[str, object]], T], deadline: float, bill: Bill
    ) -> T:
        """Send a request until it is answered, the tries are used up or the time is over."""
        retrying = tenacity.Retrying(
            stop=lambda state: (
                state.attempt_number >= self._params.max_tries
                or self._pause_s(state) >= deadline - time.monotonic()
            ),
            wait=self._pause_s,
            retry=tenacity.retry_if_exception_type(TryAgain),
            sleep=self._sleep,
            before_sleep=self._log,
            reraise=True,
        )
        tries = 0
        try:
            for attempt in retrying:
                tries += 1
                with attempt:
                    return read_answer(self._send(ask, deadline, bill), read)
        except TryAgain as fault:
            what = f"{fault}, after {tries} {'try' if tries == 1 else 'tries'}"
            raise self._down(what, "wait until the service works again") from None
        raise AssertionError("tenacity returns or raises")

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        """Return the pause before the next try: what the service asks for, and a random part."""
        # Drawn once per try: the stop condition and the pause must agree.
        pauses: dict[int, float] = state.kwargs.setdefault("pauses", {})
        if state.attempt_number not in pauses:
            jitter = tenacity.wait_random_exponential(multiplier=self._params.backoff_s, max=60.0)
            fault = state.outcome.exception() if state.outcome is not None else None
            asked_s = fault.wait_s if isinstance(fault, TryAgain) else 0.0
            pauses[state.attempt_number] = asked_s + jitter(state)
        return pauses[state.attempt_number]

    def _sleep(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            self._check_open()

    def _log(self, state: tenacity.RetryCallState) -> None:
        fault = state.outcome.exception() if state.outcome is not None else None
        logger.info("%s: %s; try %d follows", self._where, fault, state.attempt_number + 1)

    def _send(self, ask: Ask, deadline: float, bill: Bill) -> object:
        """Send a request once and return the parsed answer."""
        left_s = deadline - time.monotonic()
        if (rest_s := self._breaker.wait_s()) > 0:
            raise TryAgain("it fails again and again and is left alone", wait_s=rest_s)
        wait_s = self._throttle.reserve(max_wait_s=left_s)
        if wait_s is None:
            raise TryAgain(f"{self._params.max_per_second:g} requests per second are too few")
        self._sleep(wait_s)
        if (spent := self.budget.take()) is not None:
            fix = "raise search.live.max_calls or max_usd, or set search.recording to replay"
            raise SearchBudgetSpent(self._where, spent, fix)
        is_paid = False
        try:
            answer = self._exchange(ask, deadline)
            is_paid = True
            return answer
        finally:
            if not is_paid:
                self.budget.refund()
            bill.add(usd=self._params.usd_per_call if is_paid else 0.0)

    def _exchange(self, ask: Ask, deadline: float) -> object:
        max_bytes = int(self._params.max_answer_mb * 1e6)
        try:
            reply = exchange(
                ask, deadline=deadline, max_bytes=max_bytes, allows=anywhere, uses_proxies=True
            )
        except ExchangeError as error:
            self._breaker.fail()
            if error.fault is Fault.TLS:
                fix = "check the address, the clock and REQUESTS_CA_BUNDLE; nothing was sent"
                raise self._down(error.fault.value, fix) from None
            raise TryAgain(error.fault.value) from None
        if reply.status in _BUSY_STATUS:
            self._breaker.succeed()
            pause_s = retry_after_s(reply.headers.get("retry-after", ""))
            self._throttle.hold(pause_s)
            raise TryAgain(f"status {reply.status}, it is asked too often", wait_s=pause_s)
        if reply.status >= 500:
            self._breaker.fail()
            pause_s = retry_after_s(reply.headers.get("retry-after", ""))
            raise TryAgain(f"status {reply.status}", wait_s=pause_s)
        self._breaker.succeed()
        self._check_status(reply.status)
        if "json" not in reply.content_type:
            raise TryAgain(f"it answers with {reply.content_type or 'no type'} instead of JSON")
        return parse_json(reply.body)

    def _check_status(self, status: int) -> None:
        if status in (401, 402, 403):
            fix = f"check {self._dialect.key_variable} and the account"
            raise self._down(f"status {status}, the key is refused", fix)
        if 300 <= status < 400:
            what = f"status {status}, it wants to send the request, with its key, elsewhere"
            raise self._down(what, "set the address that it moved to; redirects are not followed")
        if status != 200:
            raise self._down(f"status {status}", "check the address and the settings of the search")

    @property
    def _where(self) -> str:
        return f"search by {self._dialect.name}"

    def _down(self, what: str, fix: str) -> SearchUnavailable:
        return SearchUnavailable(self._where, what, fix)


def _without_key(hit: Found, key: str) -> Found:
    """Return a hit without the key: a service may send back what it was asked with.

    Here every escape of JSON and HTML is undone, so that the key cannot come back through one.
    """
    texts = {field.name: getattr(hit, field.name) for field in fields(hit)}
    hidden = {name: hide(text, key) for name, text in texts.items() if isinstance(text, str)}
    return replace(hit, **hidden)
