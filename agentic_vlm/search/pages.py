"""PageReader: the readable text of a public web page, within limits of time and size."""

import time
from urllib.parse import urljoin

import trafilatura
from lxml.etree import LxmlError

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.base import Page
from agentic_vlm.search.dial import AddressRule, ExchangeError, Fault, is_public
from agentic_vlm.search.exchange import Ask, Reply, exchange, web_host

_MAX_REDIRECTS = 5
_MAX_THUMBNAIL_BYTES = 2_000_000
_MAX_URL_CHARS = 2048
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTML = frozenset({"text/html", "application/xhtml+xml"})
# What a parser may trip over in pages that are built to harm it.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, LxmlError)
_HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; agentic-vlm)", "Accept": "text/html,text/plain"}


class PageReader:
    """Reads pages and pictures of the public internet, never of this machine or its network.

    Every hop of a redirect is checked anew. Proxies of the environment are not used: behind one,
    the address that is connected to could not be checked.
    """

    def __init__(
        self, *, max_bytes: int, allows: AddressRule = is_public, picture_s: float = 5.0
    ) -> None:
        """Keep the limits.

        Args:
            max_bytes: largest page.
            allows: which addresses may be connected to.
            picture_s: seconds for one picture; a hit without its picture is better than none.
        """
        self._max_bytes = max_bytes
        self._picture_s = picture_s
        self._allows = allows

    def read(self, url: str, *, deadline: float) -> Page:
        """Return the page; whatever is wrong with it is said in its `fault`.

        Raises:
            SearchUnavailable: this machine has no network.
        """
        try:
            reply = self._follow(url, deadline, self._max_bytes)
        except ExchangeError as error:
            if error.fault is Fault.NO_NETWORK:
                fix = "check the network, or set search.recording to replay"
                raise SearchUnavailable("visit", error.fault.value, fix) from None
            return Page("", "", fault=error.fault.value)
        return _page_of(reply)

    def fetch_picture(self, url: str, *, deadline: float) -> bytes:
        """Return the bytes of a picture, undecoded; empty where it cannot be had."""
        try:
            reply = self._follow(
                url, min(deadline, time.monotonic() + self._picture_s), _MAX_THUMBNAIL_BYTES
            )
        except ExchangeError:
            return b""
        is_picture = reply.status == 200 and reply.content_type.startswith("image/")
        return reply.body if is_picture else b""

    def _follow(self, url: str, deadline: float, max_bytes: int) -> Reply:
        url = url.strip()
        for _ in range(_MAX_REDIRECTS + 1):
            if len(url) > _MAX_URL_CHARS or web_host(url) is None:
                raise ExchangeError(Fault.INVALID)
            ask = Ask("GET", url, headers=_HEADERS)
            reply = exchange(ask, deadline=deadline, max_bytes=max_bytes, allows=self._allows)
            target = reply.headers.get("location")
            if reply.status not in _REDIRECTS or target is None:
                return reply
            url = _joined(url, target)
        raise ExchangeError(Fault.UNREACHABLE)


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise ExchangeError(Fault.INVALID) from None


def _page_of(reply: Reply) -> Page:
    if reply.status != 200:
        return Page("", "", fault=f"status {reply.status}")
    if reply.content_type == "text/plain":
        text = reply.body.decode("utf-8", "replace").strip()
        return Page("", text, fault="" if text else "there is no text")
    if reply.content_type not in _HTML:
        return Page("", "", fault=f"it is {reply.content_type or 'of no type'}, not a text page")
    try:
        found = trafilatura.bare_extraction(reply.body, with_metadata=True, include_comments=False)
    except _UNREADABLE:
        return Page("", "", fault="its HTML cannot be read")
    text = (getattr(found, "text", None) or "").strip()
    return Page(
        title=getattr(found, "title", None) or "",
        text=text,
        date=getattr(found, "date", None) or "",
        fault="" if text else "there is no readable text",
    )
