"""PageReader: public pages only, at every hop; nothing that is wrong with a page is an outage."""

import gzip
import socket
import time
from pathlib import Path

import pytest

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search import Page
from agentic_vlm.search.dial import Fault, is_public
from agentic_vlm.search.pages import PageReader

from .unruly import (
    Answer,
    Unruly,
    drip,
    drip_body,
    endless,
    endless_redirect,
    hang_up,
    invalid_tls,
    reply,
    serving,
    silent,
)

HTML = b"""<html><head><title>Velmora</title></head><body><nav>Home Shop</nav>
<article><h1>Velmora</h1><p>Velmora is a mill on the river Dorn. It was founded in 1731 by two
brothers who came from the north.</p><p>It burned down twice and was built up again each time.</p>
</article><script>alert(1)</script><footer>Imprint</footer></body></html>"""
GOOD = reply(HTML, kind="text/html; charset=utf-8")
# Unpacked a thousand times as large; nobody has asked for a packed answer.
BOMB = reply(
    gzip.compress(b" " * 20_000_000), kind="text/html", headers={"Content-Encoding": "gzip"}
)


def this_machine(address: str) -> bool:
    return address == "127.0.0.1"


def read(url: str, *, seconds: float = 120.0, max_bytes: int = 100_000) -> Page:
    reader = PageReader(max_bytes=max_bytes, allows=this_machine)
    return reader.read(url, deadline=time.monotonic() + seconds)


def test_the_readable_text_of_a_page_comes_without_its_frame() -> None:
    with serving(GOOD) as server:
        page = read(f"{server.address}/velmora")
    assert (page.title, page.fault) == ("Velmora", "")
    assert "founded in 1731" in page.text
    assert "alert" not in page.text
    assert "Imprint" not in page.text


def test_plain_text_is_read_as_it_is() -> None:
    with serving(reply(b"just text", kind="text/plain")) as server:
        assert read(server.address) == Page("", "just text")


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (reply(status=404), "status 404"),
        (reply(status=503), "status 503"),
        (reply(b"%PDF", kind="application/pdf"), "it is application/pdf, not a text page"),
        (reply(b"<html></html>", kind="text/html"), "there is no readable text"),
        (reply(HTML, kind="text/html", announced=9_999), Fault.TRUNCATED.value),
        (endless, Fault.TOO_LARGE.value),
        (endless_redirect, Fault.TOO_LARGE.value),
        (BOMB, Fault.TOO_LARGE.value),
        (hang_up, Fault.UNREACHABLE.value),
    ],
)
def test_what_is_wrong_with_a_page_is_said(bad: Answer, fault: str) -> None:
    with serving(bad) as server:
        assert read(server.address) == Page("", "", fault=fault)


@pytest.mark.parametrize("bad", [silent, drip, drip_body])
def test_a_page_that_never_ends_is_left_at_the_deadline(bad: Answer) -> None:
    with serving(bad) as server:
        assert read(server.address, seconds=0.3).fault == Fault.LATE.value


def test_a_server_that_never_answers_a_greeting_is_left_at_the_deadline() -> None:
    with serving(silent) as server:
        url = server.address.replace("http:", "https:")
        assert read(url, seconds=0.3).fault == Fault.LATE.value


def test_a_page_with_an_invalid_certificate_is_not_asked_for(tmp_path: Path) -> None:
    with serving(GOOD, tls=invalid_tls(tmp_path)) as server:
        assert read(server.address) == Page("", "", fault=Fault.TLS.value)
    assert server.requests == []


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:80/",
        "http://[::ffff:10.0.0.1]/",
        "http://0.0.0.0/",
        "http://2130706434/",
        "//192.168.1.1/",
        "http://user:pass@127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://[",
    ],
)
def test_a_redirect_to_a_private_address_is_refused_before_anything_is_sent(target: str) -> None:
    with serving(reply(status=302, headers={"Location": target})) as server:
        page = read(server.address)
    assert page.text == ""
    assert page.fault in (Fault.FORBIDDEN.value, Fault.INVALID.value)
    assert len(server.requests) == 1


def test_a_redirect_to_an_allowed_address_is_followed_a_few_times_only() -> None:
    with serving(reply(status=301, headers={"Location": "/next"}), GOOD) as server:
        assert read(server.address).title == "Velmora"
    with serving(reply(status=301, headers={"Location": "/again"})) as server:
        assert read(server.address).fault == Fault.UNREACHABLE.value
    assert len(server.requests) == 6


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_not_visited(host: str) -> None:
    with serving(GOOD) as server:
        url = server.address.replace("127.0.0.1", host)
        page = PageReader(max_bytes=9_999).read(url, deadline=time.monotonic() + 120)
    assert page == Page("", "", fault=Fault.FORBIDDEN.value)
    assert server.requests == []


def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("9.9.9.9", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    page = PageReader(max_bytes=9_999).read("http://w.example/", deadline=time.monotonic() + 120)
    assert page.fault == Fault.FORBIDDEN.value


@pytest.mark.parametrize(
    ("code", "is_outage"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)]
)
def test_a_missing_network_is_an_outage_and_a_missing_host_is_not(
    monkeypatch: pytest.MonkeyPatch, code: int, is_outage: bool
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    reader, deadline = PageReader(max_bytes=9_999), time.monotonic() + 20
    if is_outage:
        with pytest.raises(SearchUnavailable, match="this machine has no network"):
            reader.read("http://w.example/", deadline=deadline)
    else:
        assert reader.read("http://w.example/", deadline=deadline).fault == "no such host"


@pytest.mark.parametrize(
    "url", ["", "w.example", "http://", "http://[", "http://a b/", "x" * 9_999]
)
def test_what_is_no_web_address_is_said(url: str) -> None:
    assert read(url).fault in (Fault.INVALID.value, Fault.UNKNOWN_HOST.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
     "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
     "::ffff:10.0.0.1", "2002:0a00:0001::1", "64:ff9b::a00:1"],
)  # fmt: skip
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe"])
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


def test_a_picture_is_fetched_whole_or_not_at_all() -> None:
    def fetch(server: Unruly) -> bytes:
        reader = PageReader(max_bytes=9, allows=this_machine, picture_s=120.0)
        return reader.fetch_picture(server.address, deadline=time.monotonic() + 120)

    with serving(reply(b"JPEG", kind="image/jpeg"), reply(b"JPEG", kind="text/html"), endless) as s:
        assert [fetch(s), fetch(s), fetch(s)] == [b"JPEG", b"", b""]


def test_a_picture_at_a_private_address_is_not_fetched() -> None:
    deadline = time.monotonic() + 120
    # Only the address of the first hop is a public one.
    is_allowed = iter([True, False])
    reader = PageReader(max_bytes=9, allows=lambda _address: next(is_allowed))
    with serving(reply(b"JPEG", kind="image/jpeg")) as inside:
        with serving(reply(status=302, headers={"Location": inside.address})) as server:
            assert reader.fetch_picture(server.address, deadline=deadline) == b""
        assert PageReader(max_bytes=9).fetch_picture(inside.address, deadline=deadline) == b""
    assert (len(server.requests), inside.requests) == (1, [])
