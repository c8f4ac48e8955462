"""One HTTP exchange that always ends: deadline, size limit, address rule, and no secret in errors.

Every exchange has a connection of its own. What it costs in handshakes buys a hard end: at the
deadline the socket is shut down, so that neither a silent server nor one that sends a byte a second
holds a thread. Only the look-up of a name cannot be cut short; callers do not wait for it.
"""

import logging
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
import urllib3

from agentic_vlm.search.dial import CURRENT_WATCH, Adapter, AddressRule, ExchangeError, Fault, Watch
from agentic_vlm.search.secrecy import hide

_CHUNK_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sent."""

    method: str
    url: str = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: object = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    secret: str = field(default="", repr=False)
    """The key among the headers or params: hidden in logs. Take it out of what the reply says."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """With lower-case names."""
    body: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def exchange(
    ask: Ask,
    *,
    deadline: float,
    max_bytes: int,
    allows: AddressRule,
    uses_proxies: bool = False,
) -> Reply:
    """Send a request and read the whole reply; redirects are not followed.

    Args:
        ask: what to send.
        deadline: reading of `time.monotonic` at which the exchange is over.
        max_bytes: most bytes of the decoded body.
        allows: which addresses may be connected to; a name with any other address is refused.
        uses_proxies: go through the proxies of the environment, which then resolve names.

    Raises:
        ExchangeError: there is no whole reply.
    """
    if web_host(ask.url) is None:
        raise ExchangeError(Fault.INVALID)
    watch = Watch(deadline, allows)
    token = CURRENT_WATCH.set(watch)
    try:
        with _hiding(ask.secret), _Session() as session:
            return _send(session, ask, watch, max_bytes, uses_proxies)
    finally:
        CURRENT_WATCH.reset(token)
        watch.release()


def web_host(url: str) -> str | None:
    """Return the host of a http or https address without user and password; None for others.

    >>> web_host("https://w.example/a"), web_host("file:///etc/passwd")
    ('w.example', None)
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and parts.username is None
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if is_web and parts.hostname else None


class _Session(requests.Session):
    """Knows no redirects: requests reads the body of one whole, without a limit, to prepare it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        del resp
        return None


def _send(
    session: requests.Session, ask: Ask, watch: Watch, max_bytes: int, uses_proxies: bool
) -> Reply:
    # Without this, a .netrc of the user would be sent along.
    session.trust_env = False
    session.mount("http://", Adapter(max_retries=0))
    session.mount("https://", Adapter(max_retries=0))
    proxies = requests.utils.get_environ_proxies(ask.url) if uses_proxies else {}
    try:
        with session.request(
            ask.method,
            ask.url,
            params=dict(ask.params),
            headers={"Accept-Encoding": "identity", "Connection": "close", **ask.headers},
            json=ask.json,
            data=ask.body,
            timeout=watch.remaining_s(),
            stream=True,
            allow_redirects=False,
            proxies=proxies,
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or True,
        ) as response:
            body = _read(response, watch, max_bytes)
            names = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status_code, names, body)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # Their texts hold the address, and with some services the address holds the key.
        raise ExchangeError(_fault(error, watch)) from None


def _read(response: requests.Response, watch: Watch, max_bytes: int) -> bytes:
    parts, size = [], 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        watch.remaining_s()
        size += len(chunk)
        if size > max_bytes:
            raise ExchangeError(Fault.TOO_LARGE)
        parts.append(chunk)
    # A socket that was shut down at the deadline reads like one that has sent everything.
    watch.remaining_s()
    return b"".join(parts)


def _fault(error: BaseException, watch: Watch) -> Fault:
    if time.monotonic() >= watch.deadline:
        return Fault.LATE
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError | requests.exceptions.SSLError):
            return Fault.TLS
        if isinstance(cause, requests.exceptions.Timeout | TimeoutError):
            return Fault.LATE
        if isinstance(cause, requests.exceptions.InvalidURL | UnicodeError):
            return Fault.INVALID
        if isinstance(cause, requests.exceptions.ChunkedEncodingError):
            return Fault.TRUNCATED
        if isinstance(cause, requests.exceptions.ContentDecodingError):
            return Fault.TRUNCATED
        if isinstance(cause, urllib3.exceptions.IncompleteRead):
            return Fault.TRUNCATED
    return Fault.UNREACHABLE


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _hiding(secret: str) -> Iterator[None]:
    """Keep a key out of the log of urllib3, which writes addresses at level DEBUG."""
    if not secret:
        yield
        return
    hiding = _Hide(secret)
    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(hiding)
    try:
        yield
    finally:
        logger.removeFilter(hiding)


class _Hide(logging.Filter):
    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = hide(record.getMessage(), self._secret), None
        return True
