"""The contract of the released DeepEyesV2 sandbox, spoken by its clients as they are.

`POST /jupyter_sandbox {session_id, code, timeout}` gives `{status, execution_time, output: {result,
stdout, stderr, images}}` with base64 PNGs. Source: ChenShawn/MultiModal-Jupyter-Sandbox, v1.
Deviation: variables are those of a living session, so that nothing is lost between calls because it
cannot be pickled.
"""

import asyncio
import base64
import dataclasses
import io
import time
from collections import OrderedDict
from collections.abc import Sequence

from aiohttp import web
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.base import CellResult, CellStatus, Sandbox, Session

TIMED_OUT = "TimeOutError: code execution timed out"


class ReleasedContract:
    """Sessions by a name that the client makes up; whoever knows a name shares its variables."""

    def __init__(self, sandbox: Sandbox, *, max_sessions: int = 256, idle_s: float = 3600.0):
        """Keep who runs the cells.

        Args:
            sandbox: opens the sessions.
            max_sessions: beyond them the one that was idle longest is ended.
            idle_s: seconds after which an idle session may be ended. Release: one hour.
        """
        self._sandbox = sandbox
        self._max_sessions = max_sessions
        self._idle_s = idle_s
        self._sessions: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._opening = asyncio.Lock()

    def add_to(self, app: web.Application) -> None:
        """Add the paths; see `Routes`."""
        app.router.add_post("/jupyter_sandbox", self._run)
        app.router.add_post("/clear_session", self._clear)

    async def close(self) -> None:
        """End every session."""
        while self._sessions:
            _, (session, _) = self._sessions.popitem()
            await session.close()

    async def _run(self, request: web.Request) -> web.Response:
        asked = await _read(request)
        code, timeout_s = asked.get("code"), asked.get("timeout", 30)
        if not isinstance(code, str) or not code.strip():
            return _answer("error", 0.0, "Code is empty.")
        if not isinstance(timeout_s, int | float) or timeout_s <= 0:
            return _answer("error", 0.0, "timeout must be a number of seconds.")
        begin_s = time.monotonic()
        try:
            session = await self._session(str(asked.get("session_id", "")))
            result = await _run_in_time(session, code, float(timeout_s))
        except SandboxUnavailable as error:
            return _answer("error", time.monotonic() - begin_s, error.what)
        # Encoding takes a second for 10 MP, in which others are to be served.
        images = await asyncio.to_thread(_encode, result.images)
        output = {
            "result": result.value,
            "stdout": result.stdout,
            "stderr": result.stderr,
            "images": images,
        }
        return _answer("success", time.monotonic() - begin_s, output)

    async def _session(self, name: str) -> Session:
        async with self._opening:
            now_s = time.monotonic()
            found = self._sessions.pop(name, None)
            session = found[0] if found else await self._sandbox.open([], seed=0)
            self._sessions[name] = (session, now_s)
            for old, (_, used_s) in list(self._sessions.items()):
                is_full = len(self._sessions) > self._max_sessions
                if old == name or not (is_full or now_s - used_s > self._idle_s):
                    break
                await self._sessions.pop(old)[0].close()
            return session

    async def _clear(self, request: web.Request) -> web.Response:
        name = str((await _read(request)).get("session_id", ""))
        found = self._sessions.pop(name, None)
        if found is not None:
            await found[0].close()
        return _answer("success" if found else "error", 0.0, "")


async def _run_in_time(session: Session, code: str, timeout_s: float) -> CellResult:
    try:
        result = await asyncio.wait_for(session.run_cell(code), timeout_s)
    except TimeoutError:
        return CellResult(CellStatus.TIMEOUT, stderr=TIMED_OUT)
    if result.status is CellStatus.TIMEOUT:
        return dataclasses.replace(result, stderr=TIMED_OUT)
    return result


async def _read(request: web.Request) -> dict[str, object]:
    try:
        asked = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(text="the body is no JSON\n") from error
    if not isinstance(asked, dict):
        raise web.HTTPBadRequest(text="the body is no object\n")
    return asked


def _answer(status: str, seconds: float, output: object) -> web.Response:
    return web.json_response({"status": status, "execution_time": seconds, "output": output})


def _encode(images: Sequence[Image.Image]) -> list[str]:
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, format="png", compress_level=1)
        encoded.append(base64.b64encode(buffer.getvalue()).decode("ascii"))
    return encoded
