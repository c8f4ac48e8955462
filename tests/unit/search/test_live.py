"""LiveSearch against a server on this machine that misbehaves: no hang, no loss, no leak."""

import asyncio
import base64
import email.utils
import gzip
import io
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

import pyarrow.parquet as pq
import pytest
from PIL import Image

from agentic_vlm.errors import SearchBudgetSpent, SearchUnavailable
from agentic_vlm.params import LiveSearchParams
from agentic_vlm.search import ImageHit, LiveSearch, RecordedSearch, TextHit
from agentic_vlm.search.answers import AnswerStore
from agentic_vlm.search.dial import anywhere
from agentic_vlm.search.dialects import Brave, Dialect, JsonForm, SerpApi, Serper
from agentic_vlm.search.meter import billed
from agentic_vlm.search.pages import PageReader
from agentic_vlm.search.picture_host import PictureHost

from .unruly import (
    Answer,
    Unruly,
    drip,
    drip_body,
    endless,
    hang_up,
    in_pieces,
    invalid_tls,
    reply,
    serving,
    silent,
)

T = TypeVar("T")

KEY = "sk-tell+nobody/4711"
ROW = {"title": "Velmora", "link": "https://w.example/1", "snippet": "A mill.", "date": "2020"}
HIT = TextHit("Velmora", "https://w.example/1", "A mill.", "2020")
GOOD = reply({"organic": [ROW]})
VARIABLES = ("SERPER_API_KEY", "SERPAPI_API_KEY", "BRAVE_API_KEY", "AGENTIC_SEARCH_KEY")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, KEY)
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)


def limits(**changes: object) -> LiveSearchParams:
    quick = {"max_per_second": 1e6, "backoff_s": 1e-4, "deadline_s": 120.0, "max_answer_mb": 0.5}
    return LiveSearchParams.model_validate({**quick, **changes})


def live(
    server: Unruly,
    dialect: Callable[[str], Dialect] = Serper,
    host: PictureHost | None = None,
    **changes: object,
) -> LiveSearch:
    pages = PageReader(max_bytes=500_000, allows=anywhere, picture_s=120.0)
    return LiveSearch(dialect(server.address), limits(**changes), pages=pages, host=host)


def run(search: LiveSearch, work: Callable[[LiveSearch], Awaitable[T]]) -> T:
    async def go() -> T:
        try:
            # Only ends a run that hangs.
            return await asyncio.wait_for(work(search), 300)
        finally:
            await search.close()

    return asyncio.run(go())


def find(search: LiveSearch, query: str = "velmora") -> list[TextHit]:
    return run(search, lambda one: one.search_text(query, num_hits=5))


def failure(search: LiveSearch) -> SearchUnavailable:
    with pytest.raises(SearchUnavailable) as caught:
        find(search)
    return caught.value


@pytest.mark.parametrize(
    ("dialect", "content"),
    [
        (Serper, {"organic": [ROW]}),
        (SerpApi, {"organic_results": [ROW]}),
        (
            Brave,
            {
                "web": {
                    "results": [
                        {
                            "title": "<strong>Velmora</strong>",
                            "url": "https://w.example/1",
                            "description": "A\nmill.",
                            "page_age": "2020",
                        }
                    ]
                }
            },
        ),
        (JsonForm, {"elapsed_time": 0.1, "data": [ROW]}),
    ],
)
def test_every_service_is_understood_and_gets_the_key_and_the_query(
    dialect: Callable[[str], Dialect], content: object
) -> None:
    with serving(reply(content)) as server:
        assert find(live(server, dialect)) == [HIT]
    (request,) = server.requests
    sent = request.line + json.dumps(dict(request.headers)) + request.body.decode()
    assert "velmora" in sent
    assert KEY in sent or KEY.replace("+", "%2B").replace("/", "%2F") in sent


@pytest.mark.parametrize(
    ("dialect", "content"),
    [
        (Serper, {"organic": []}),
        (SerpApi, {"error": "Google hasn't returned any results for this query."}),
        (Brave, {"query": {"original": "x"}}),
        (JsonForm, {"data": []}),
    ],
)
def test_nothing_found_is_an_empty_list(dialect: Callable[[str], Dialect], content: object) -> None:
    with serving(reply(content)) as server:
        assert find(live(server, dialect)) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("query", ["", " \n", "\ud800"])
def test_an_empty_query_is_not_sent(query: str) -> None:
    with serving(GOOD) as server:
        assert find(live(server), query) == []
    assert server.requests == []


def test_a_query_that_the_service_would_refuse_is_cut() -> None:
    with serving(reply({"query": {}})) as server:
        find(live(server, Brave), "word " * 1000)
    assert server.requests[0].line.count("word") == 50


@pytest.mark.parametrize(
    "bad",
    [
        reply(status=429),
        reply(status=429, headers={"Retry-After": "0"}),
        reply(status=503, headers={"Retry-After": "soon"}),
        reply(status=500),
        hang_up,
        reply({"organic": [ROW]}, announced=9_999),
        reply(b'{"organic": [{"tit'),
        reply(b"<html>busy</html>", kind="text/html"),
        reply([1]),
        reply({"rows": 1}),
        reply(b"[" * 200_000),
    ],
    ids=[
        "429", "429-at-once", "503", "500", "hang-up", "truncated", "half-json", "html", "list",
        "other-form", "deep",
    ],
)  # fmt: skip
def test_a_passing_fault_is_tried_again(bad: Answer) -> None:
    with serving(bad, bad, GOOD) as server:
        assert find(live(server)) == [HIT]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (reply(status=500), "status 500, after 2 tries"),
        (hang_up, "the server cannot be reached, after 2 tries"),
        (reply({}, announced=9_999), "the answer is cut short, after 2 tries"),
        (endless, "the answer is too large, after 2 tries"),
        (reply(b"x" * 600_000), "the answer is too large, after 2 tries"),
        (
            reply(gzip.compress(b" " * 20_000_000), headers={"Content-Encoding": "gzip"}),
            "the answer is too large, after 2 tries",
        ),
        (
            reply(b"<p>", kind="text/html; charset=utf-8"),
            "it answers with text/html instead of JSON, after 2 tries",
        ),
        (reply({}), "its answer has another form: there is no list 'organic', after 2 tries"),
    ],
)
def test_a_lasting_fault_is_an_outage_with_its_cause(bad: Answer, what: str) -> None:
    with serving(bad) as server:
        error = failure(live(server, max_tries=2))
    assert (error.where, error.what) == ("search by serper", what)
    assert len(server.requests) == 2


def test_a_server_that_is_gone_is_an_outage() -> None:
    with serving(GOOD) as server:
        pass
    assert "cannot be reached" in failure(live(server, max_tries=1)).what


def test_a_slow_answer_is_read_whole() -> None:
    with serving(in_pieces({"organic": [ROW]})) as server:
        assert find(live(server)) == [HIT]
    assert len(server.requests) == 1


@pytest.mark.parametrize("bad", [silent, drip, drip_body])
def test_a_server_that_never_ends_is_left_at_the_deadline(bad: Answer) -> None:
    with serving(bad, bad, GOOD) as server:
        search = live(server, deadline_s=0.4, max_concurrent=1)

        async def go(search: LiveSearch) -> list[TextHit]:
            for _ in range(2):
                with pytest.raises(SearchUnavailable, match="no whole answer before the deadline"):
                    await search.search_text("velmora", num_hits=5)
            # The only thread is free again; on a busy machine even a good answer may be late.
            while True:
                try:
                    return await search.search_text("velmora", num_hits=5)
                except SearchUnavailable as error:
                    assert "before the deadline" in str(error)  # noqa: PT017

        assert run(search, go) == [HIT]


def test_a_service_that_asks_for_more_time_than_there_is_fails_at_once() -> None:
    with serving(reply(status=429, headers={"Retry-After": "3600"})) as server:
        error = failure(live(server))
    assert error.what == "status 429, it is asked too often, after 1 try"
    assert len(server.requests) == 1


def test_retry_after_holds_back_other_searches_too() -> None:
    date = email.utils.formatdate(time.time() + 7200, usegmt=True)
    with serving(reply(status=429, headers={"Retry-After": date}), GOOD) as server:
        search = live(server, max_tries=1)

        async def go(search: LiveSearch) -> None:
            for what in ("it is asked too often", "requests per second are too few"):
                with pytest.raises(SearchUnavailable, match=what):
                    await search.search_text("velmora", num_hits=5)

        run(search, go)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_is_not_tried_again(status: int) -> None:
    with serving(reply(status=status)) as server:
        error = failure(live(server))
    assert error.fix == "check SERPER_API_KEY and the account"
    assert len(server.requests) == 1


def test_a_redirect_never_takes_the_key_elsewhere() -> None:
    with serving(GOOD) as other:
        moved = reply(status=302, headers={"Location": f"{other.address}/search"})
        with serving(moved) as server:
            error = failure(live(server))
    assert error.what.startswith(
        "status 302, it wants to send the request, with its key, elsewhere"
    )
    assert other.requests == []


def test_an_invalid_certificate_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with serving(GOOD, tls=invalid_tls(tmp_path)) as server:
        error = failure(live(server))
    assert error.what == "its certificate is not valid"
    assert server.requests == []


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERPER_API_KEY")
    with serving(GOOD) as server:
        assert str(failure(live(server))) == (
            "search by serper: there is no key in SERPER_API_KEY\n  fix: export SERPER_API_KEY=..."
        )
    assert server.requests == []


def echo(form: str = "utf-8") -> Answer:
    """Return an answer that says the key in many ways; `form` is an encoding, or `escaped`."""
    said = f"{KEY} {quote(KEY, safe='')} {quote(KEY, safe='').lower()} {quote(KEY)}"
    row = {**ROW, "snippet": f"your key is {said}", "link": f"https://w.example/?k={KEY}"}
    html = {"title": "".join(f"&#{ord(sign)};" for sign in KEY), "url": KEY, "description": said}
    text = json.dumps(
        {
            "organic": [row],
            "organic_results": [row],
            "data": [row],
            "web": {"results": [html]},
        }
    )
    if form != "escaped":
        return reply(text.encode(form))
    for sign, escaped in (("/4711", "\\/4711"), ("sk-", "sk\\u002d"), ("%2f", "\\u00252f")):
        text = text.replace(sign, escaped)
    return reply(text.encode())


@pytest.mark.parametrize("dialect", [Serper, SerpApi, Brave, JsonForm])
@pytest.mark.parametrize(
    "bad",
    [
        echo(),
        echo("escaped"),
        echo("utf-16"),
        reply(status=500),
        hang_up,
        endless,
        reply({}, announced=99),
        reply(b"{", status=200),
        reply({"error": KEY}, status=401),
        reply(status=302, headers={"Location": f"http://10.0.0.1/?api_key={KEY}"}),
    ],
)
def test_the_key_is_in_no_log_no_error_and_no_hit(
    dialect: Callable[[str], Dialect], bad: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = ""
    with serving(bad) as server:
        search = live(server, dialect, max_tries=2)
        try:
            shown = repr(find(search))
        except SearchUnavailable as error:
            shown = "".join(traceback.format_exception(error)) + repr(error.__context__)
        shown += repr(search) + repr(vars(search))
    assert server.requests
    for text in (shown, caplog.text):
        assert KEY not in unquote(text)


def test_the_key_is_in_no_stored_answer_and_in_no_address_that_is_fetched(tmp_path: Path) -> None:
    image, encoded = picture()
    thumbnail = reply(encoded, kind="image/jpeg")
    row = {"title": KEY, "link": f"https://w.example/?k={KEY}", "snippet": KEY, "date": KEY}
    store = AnswerStore(tmp_path)
    with serving(thumbnail) as web, serving(reply({}, status=201)) as host:
        row |= {"imageUrl": f"{web.address}/?k={quote(KEY, safe='')}"}
        with serving(reply({"organic": [row]})) as server:
            inner = live(server, host=PictureHost(host.address))
            engine = {"engine": "serper"}
            search = RecordedSearch(inner, store, engine=engine, mode="record_missing")

            async def go() -> None:
                await search.search_text("velmora", num_hits=1)
                assert len(await search.search_image(image, num_hits=1)) == 1
                await search.close()

            asyncio.run(go())
    stored = [pq.read_table(path).to_pylist() for path in tmp_path.glob("*.parquet")]
    assert sum(map(len, stored)) == 2
    assert "[key]" in repr(stored)
    assert KEY not in unquote(repr(stored))
    assert KEY not in unquote(web.requests[0].line)


def test_a_service_that_fails_again_and_again_is_left_alone() -> None:
    with serving(reply(status=500), reply(status=500), reply(status=500), GOOD) as server:
        search = live(server, max_failures=3, max_tries=1, cooldown_s=10_000.0)

        async def go(search: LiveSearch) -> None:
            for what in ("status 500", "status 500", "status 500", "is left alone"):
                with pytest.raises(SearchUnavailable, match=what):
                    await search.search_text("velmora", num_hits=5)

        run(search, go)
    assert len(server.requests) == 3


@pytest.mark.parametrize("changes", [{"max_calls": 3}, {"max_usd": 0.003, "usd_per_call": 0.001}])
def test_the_budget_stops_before_the_next_request(changes: dict[str, object]) -> None:
    with serving(GOOD) as server:
        search = live(server, **changes)

        async def go(search: LiveSearch) -> list[object]:
            asked = (search.search_text(f"q{number}", num_hits=1) for number in range(8))
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = run(search, go)
    assert sum(answer == [HIT] for answer in answers) == 3
    assert sum(isinstance(answer, SearchBudgetSpent) for answer in answers) == 5
    assert len(server.requests) == 3
    assert search.budget.usd == pytest.approx(0.003)


def test_a_request_that_is_not_answered_costs_nothing_and_counts() -> None:
    with serving(reply(status=500), GOOD) as server:
        search = live(server, usd_per_call=0.5)

        async def go(search: LiveSearch) -> tuple[int, float]:
            with billed() as bill:
                await search.search_text("velmora", num_hits=1)
            return bill.num_requests, bill.usd

        assert run(search, go) == (2, 0.5)
    assert (search.budget.num_calls, search.budget.usd) == (2, 0.5)


def test_200_searches_at_once_all_end_and_the_loop_goes_on() -> None:
    # Every third request fails in some way; each search gets its answer or an outage.
    faults = [reply(status=500), hang_up, reply(status=429), reply(b"{")]
    script = [faults[number // 3 % 4] if number % 3 == 0 else GOOD for number in range(199)]
    with serving(*script, GOOD) as server:
        search = live(server, max_failures=1000)
        ticks = 0

        async def go(search: LiveSearch) -> list[object]:
            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0.002)

            ticking = asyncio.create_task(tick())
            asked = (search.search_text(f"q{number}", num_hits=1) for number in range(200))
            answers = await asyncio.gather(*asked, return_exceptions=True)
            ticking.cancel()
            return answers

        answers = run(search, go)
    outages = [answer for answer in answers if isinstance(answer, SearchUnavailable)]
    assert sum(answer == [HIT] for answer in answers) + len(outages) == 200
    assert len(server.requests) == search.budget.num_calls
    assert ticks > 3


def picture() -> tuple[Image.Image, bytes]:
    image = Image.new("RGB", (40, 30), "red")
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return image, stream.getvalue()


def test_a_picture_goes_to_a_json_server_as_it_is() -> None:
    image, encoded = picture()
    thumbnail = base64.b64encode(encoded).decode()
    row = {"title": "T", "link": "l", "thumbnail": thumbnail}
    with serving(reply({"data": [row, {"title": "no picture"}]})) as server:
        search = live(server, JsonForm)
        hits = run(search, lambda one: one.search_image(image, num_hits=5))
    assert hits == [ImageHit("T", "l", encoded)]
    sent = base64.b64decode(json.loads(server.requests[0].body)["image"])
    assert Image.open(io.BytesIO(sent)).tobytes() == image.tobytes()


def test_a_picture_is_published_once_and_thumbnails_are_fetched() -> None:
    image, encoded = picture()
    with (
        serving(reply(encoded, kind="image/jpeg"), reply(status=404), reply(b"x")) as web,
        serving(reply({}, status=201)) as host,
    ):
        rows = [
            {"title": f"T{number}", "link": "l", "imageUrl": f"{web.address}/{number}"}
            for number in range(3)
        ]
        with serving(reply({"organic": rows})) as server:
            search = live(server, host=PictureHost(host.address))

            async def go(search: LiveSearch) -> list[ImageHit]:
                hits = await search.search_image(image, num_hits=5)
                await search.search_image(image, num_hits=0)
                return hits

            assert run(search, go) == [ImageHit("T0", "l", encoded)]
    (put,) = host.requests
    assert json.loads(server.requests[0].body)["url"].startswith(host.address)
    assert put.line.startswith("PUT /")


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (reply(status=500), "status 500"),
        (reply(status=429, headers={"Retry-After": "3600"}), "status 429"),
        (reply(status=302, headers={"Location": f"http://10.0.0.1/?key={KEY}"}), "status 302"),
        (hang_up, "the server cannot be reached"),
        (reply({}, announced=99), "the answer is cut short"),
        (endless, "the answer is too large"),
        (silent, "no whole answer before the deadline"),
        (drip, "no whole answer before the deadline"),
    ],
    ids=["500", "429", "redirect", "hang-up", "truncated", "huge", "silent", "drip"],
)
def test_a_picture_host_that_fails_is_an_outage_and_the_service_is_not_asked(
    bad: Answer, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTIC_PICTURE_HOST_KEY", KEY)
    is_slow = bad in (silent, drip)
    with serving(GOOD) as server, serving(bad) as host:
        search = live(server, host=PictureHost(host.address), deadline_s=0.4 if is_slow else 120.0)
        with pytest.raises(SearchUnavailable) as caught:
            run(search, lambda one: one.search_image(picture()[0], num_hits=1))
    # On a busy machine the short deadline may be over before anything is sent.
    assert what in str(caught.value) or (is_slow and "no free connection" in str(caught.value))
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert server.requests == []


def test_a_picture_host_with_an_invalid_certificate_gets_no_picture(tmp_path: Path) -> None:
    with serving(GOOD) as server, serving(GOOD, tls=invalid_tls(tmp_path)) as host:
        search = live(server, host=PictureHost(host.address))
        with pytest.raises(SearchUnavailable, match="its certificate is not valid"):
            run(search, lambda one: one.search_image(picture()[0], num_hits=1))
    assert (server.requests, host.requests) == ([], [])


@pytest.mark.parametrize(
    ("dialect", "fix"), [(Serper, "AGENTIC_PICTURE_HOST_URL"), (Brave, "another engine")]
)
def test_a_service_that_cannot_take_the_picture_says_what_to_do(
    dialect: Callable[[str], Dialect], fix: str
) -> None:
    with serving(GOOD) as server:
        search = live(server, dialect)
        with pytest.raises(SearchUnavailable, match=fix):
            run(search, lambda one: one.search_image(picture()[0], num_hits=1))
    assert server.requests == []


def test_closing_ends_what_is_waiting() -> None:
    with serving(reply(status=500)) as server:
        search = live(server, backoff_s=1000.0, deadline_s=5000.0)

        async def go() -> None:
            asked = asyncio.create_task(search.search_text("velmora", num_hits=1))
            while not server.requests:
                await asyncio.sleep(0.01)
            await search.close()
            with pytest.raises(SearchUnavailable, match="it is closed"):
                await asked

        asyncio.run(go())
