"""A headless Chromium that is driven as a person would: mouse, keys, and a look at the page.

It speaks the DevTools protocol over a pipe: no port is opened, and both ends die together.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 120.0
_TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe", "--window-size=1500,900"),
)


def find_browser() -> str | None:
    """Return the first browser in PATH."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Page:
    """The one tab of a browser."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, os.fdopen(receive, "rb")
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        """Addresses that were asked for, those of the file itself and of pictures in it apart."""
        self.faults: list[str] = []
        """Errors of scripts, refusals of the content policy included."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> Any:
        """Ask the browser and return its answer."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                if "error" in heard:
                    raise RuntimeError(f"{method}: {heard['error']['message']}")
                return heard["result"]

    def open(self, address: str) -> None:
        """Load a page and wait until its list stands."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.body && document.body.dataset.listedAfterMs !== undefined")

    def look(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is waited for."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']['text']}")
        return found["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Look again until an expression is true."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self.look(f"Boolean({script})"):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"never came true: {script}")
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        at = self.look(f"(b => ({{x: b.x + b.width / 2, y: b.y + b.height / 2}}))({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list by its value, as its menu does."""
        node = f"document.querySelector({json.dumps(selector)})"
        event = 'node.dispatchEvent(new Event("change", {bubbles: true}))'
        self.look(f"{{ const node = {node}; node.value = {json.dumps(value)}; {event} }}")

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, such as ArrowDown."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def photograph(self, path: Path) -> None:
        """Write a picture of what is seen."""
        # What a script has just changed is seen from the second frame on.
        self.look(_TWO_FRAMES)
        content = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(content))

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._receive.fileno(), 1 << 20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        heard: dict[str, Any] = json.loads(line)
        self._note(heard)
        return heard

    def _note(self, heard: dict[str, Any]) -> None:
        told = heard.get("params", {})
        match heard.get("method"):
            case "Network.requestWillBeSent":
                address = str(told["request"]["url"])
                if not address.startswith(("file:", "data:", "about:")):
                    self.requests.append(address)
            case "Runtime.exceptionThrown":
                self.faults.append(str(told["exceptionDetails"]["text"]))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.faults.append(str(told["entry"]["text"]))


@contextmanager
def open_browser(browser: str) -> Iterator[Page]:
    """Start a browser with a profile of its own and end it with the block."""
    to_browser, send = os.pipe()
    receive, from_browser = os.pipe()
    # The protocol is spoken on descriptors 3 and 4; a shell puts them there.
    line = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        child = subprocess.Popen(
            ["/bin/bash", "-c", line, browser, *_OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Page(send, receive)
        finally:
            os.close(send)
            child.terminate()
            child.wait()
