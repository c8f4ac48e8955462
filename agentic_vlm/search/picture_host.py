"""PictureHost: puts a picture where a search service can see it."""

import hashlib
import os
import time

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search.dial import ExchangeError, anywhere
from agentic_vlm.search.exchange import Ask, exchange

_WHERE = "picture host"
_FIX = "check AGENTIC_PICTURE_HOST_URL and AGENTIC_PICTURE_HOST_KEY"


class PictureHost:
    """A folder on a web server that takes PUT and shows the files to everyone, such as a bucket."""

    def __init__(self, address: str) -> None:
        """Keep the address of the folder."""
        self._address = address.rstrip("/")
        self._published: set[str] = set()

    def publish(self, png: bytes, *, deadline: float) -> str:
        """Return the public address of a picture; equal pictures are sent once.

        Raises:
            SearchUnavailable: the server did not take it.
        """
        url = f"{self._address}/{hashlib.sha256(png).hexdigest()}.png"
        if url in self._published:
            return url
        key = os.environ.get("AGENTIC_PICTURE_HOST_KEY", "").strip()
        headers = {"Content-Type": "image/png"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        ask = Ask("PUT", url, headers=headers, body=png, secret=key)
        try:
            reply = exchange(
                ask, deadline=max(deadline, time.monotonic()), max_bytes=65_536, allows=anywhere
            )
        except ExchangeError as error:
            raise SearchUnavailable(_WHERE, error.fault.value, _FIX) from None
        if not 200 <= reply.status < 300:
            raise SearchUnavailable(_WHERE, f"status {reply.status}", _FIX)
        self._published.add(url)
        return url
