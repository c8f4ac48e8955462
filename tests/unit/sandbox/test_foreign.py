"""Engines of others: what they send is read within our limits, and their PNGs in a session.

The servers here speak the two interfaces and run the code in a sandbox of ours.
"""

import asyncio
import base64
import dataclasses
import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from aiohttp import web
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellResult, CellStatus, Sandbox, Session
from agentic_vlm.sandbox.foreign import PngDecoder
from agentic_vlm.sandbox.fusion import FusionSandbox
from agentic_vlm.sandbox.gateway import GatewaySandbox
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.process import RESTARTED, ProcessSandbox

T = TypeVar("T")
LIMITED = SandboxParams(num_spares=1, cell_wall_s=30.0, max_output_chars=200)
RUNNER, LOCAL = asyncio.Runner(), ProcessSandbox(LIMITED)


class SharedDecoder(PngDecoder):
    """Decodes in the sandbox of this module, which lives on."""

    async def close(self) -> None:
        pass


DECODER = SharedDecoder(LOCAL)


@pytest.fixture(autouse=True, scope="module")
def _warm_place() -> Iterator[None]:
    # The servers here answer out of it, and their clients' patience does not cover its start.
    RUNNER.run(_open_and_close())
    yield
    RUNNER.run(LOCAL.close())
    RUNNER.close()


async def _open_and_close() -> None:
    await (await LOCAL.open([], seed=0)).close()


def png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


class FusionServer:
    """Answers `POST /run_jupyter` as SandboxFusion does."""

    def __init__(self) -> None:
        self.num_cells: list[int] = []

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/run_jupyter", self._run)

    async def _run(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.num_cells.append(len(asked["cells"]))
        if "sleep" in asked["cells"][-1]:
            late = {"status": "Failed", "message": "", "driver": {"status": "TimeLimitExceeded"}}
            return web.json_response(late)
        session = await LOCAL.open([], seed=0)
        results = [await session.run_cell(cell) for cell in asked["cells"]]
        await session.close()
        cells = [_fusion_cell(result) for result in results]
        driver = {"status": "Finished"}
        return web.json_response({"status": "Success", "driver": driver, "cells": cells})


def _fusion_cell(result: CellResult) -> dict[str, object]:
    display = [{"image/png": png(image)} for image in result.images]
    display += [{"text/plain": result.value}] if result.value else []
    name = result.error_class
    error = [{"ename": name, "evalue": "", "traceback": [result.stderr]}] if name else []
    return {"stdout": result.stdout, "stderr": "", "display": display, "error": error}


class GatewayServer:
    """Answers as a Jupyter kernel gateway does."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.num_started = 0
        self._interrupted = asyncio.Event()

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/api/kernels", self._start)
        app.router.add_get("/api/kernels/{name}/channels", self._talk)
        app.router.add_post("/api/kernels/{name}/interrupt", self._interrupt)
        app.router.add_delete("/api/kernels/{name}", self._end)

    async def _start(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "token t":
            raise web.HTTPForbidden
        self.num_started += 1
        name = f"k{self.num_started}"
        self.sessions[name] = await LOCAL.open([], seed=0)
        return web.json_response({"id": name}, status=201)

    async def _interrupt(self, _request: web.Request) -> web.Response:
        self._interrupted.set()
        return web.Response(status=204)

    async def _end(self, request: web.Request) -> web.Response:
        await self.sessions.pop(request.match_info["name"]).close()
        return web.Response(status=204)

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 26)
        await socket.prepare(request)
        session = self.sessions[request.match_info["name"]]
        async for message in socket:
            asked = message.json()

            async def say(kind: str, asked: dict = asked, **content: object) -> None:
                await socket.send_json(
                    {
                        "header": {"msg_type": kind},
                        "parent_header": asked["header"],
                        "content": content,
                    }
                )

            await say("status", execution_state="busy")
            code = asked["content"]["code"]
            if code == "die":
                await say("status", execution_state="restarting")
                continue
            if "sleep" in code:
                await self._interrupted.wait()
                await say("error", ename="KeyboardInterrupt", evalue="", traceback=[])
            else:
                await self._run(session, code, say)
            await say("execute_reply", status="ok")
            await say("status", execution_state="idle")
        return socket

    async def _run(self, session: Session, code: str, say: Callable[..., object]) -> None:
        result = await session.run_cell(code)
        await say("stream", name="stdout", text=result.stdout)
        for image in result.images:
            await say("display_data", data={"image/png": png(image), "text/plain": "<Image>"})
        if result.value:
            await say("execute_result", data={"text/plain": result.value})
        if result.error_class:
            trace = [f"\x1b[31m{result.stderr}\x1b[0m"]
            await say("error", ename=result.error_class, evalue="", traceback=trace)


@asynccontextmanager
async def serving(server: FusionServer | GatewayServer) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 26)
    server.add_to(app)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def fusion(url: str, limits: Limits = LOCAL.limits) -> Sandbox:
    return FusionSandbox(url, limits, DECODER)


def gateway(url: str, limits: Limits = LOCAL.limits) -> Sandbox:
    return GatewaySandbox(url, limits, DECODER, token="t")


ENGINES = [(FusionServer, fusion), (GatewayServer, gateway)]


def play(
    make_server: Callable[[], FusionServer | GatewayServer],
    make: Callable[[str], Sandbox],
    scene: Callable[[Sandbox, FusionServer | GatewayServer], Coroutine[None, None, T]],
) -> T:
    async def whole() -> T:
        server = make_server()
        async with serving(server) as url:
            sandbox = make(url)
            try:
                return await scene(sandbox, server)
            finally:
                await sandbox.close()

    return RUNNER.run(whole())


@pytest.mark.parametrize(("make_server", "make"), ENGINES)
def test_state_pictures_output_and_errors_come_through(make_server, make) -> None:
    image = Image.radial_gradient("L").convert("RGB")

    async def scene(sandbox: Sandbox, _server: object) -> None:
        session = await sandbox.open([image], seed=3)
        await session.run_cell("x = 41")
        shown = await session.run_cell("print('a' * 500)\nx += 1\ndisplay(image_1)\nx")
        assert shown.status is CellStatus.OK
        assert shown.value == "42"
        assert [one.tobytes() for one in shown.images] == [image.tobytes()]
        assert "characters left out" in shown.stdout
        error = await session.run_cell("1 / 0")
        assert (error.status, error.error_class) == (CellStatus.ERROR, "ZeroDivisionError")
        assert "\x1b" not in error.stderr
        assert (await session.run_cell("x")).value == "42"
        await session.close()
        with pytest.raises(SandboxUnavailable):
            await session.run_cell("x")

    play(make_server, make, scene)


@pytest.mark.parametrize(("make_server", "make"), ENGINES)
def test_a_reply_that_comes_in_many_pieces_is_read_whole(make_server, make) -> None:
    code = (
        "import numpy; from PIL import Image\n"
        "noise = numpy.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype='uint8')\n"
        "Image.fromarray(noise)"
    )

    async def scene(sandbox: Sandbox, _server: object) -> CellResult:
        session = await sandbox.open([], seed=0)
        return await session.run_cell(code)

    (image,) = play(make_server, make, scene).images
    assert image.size == (900, 900)


@pytest.mark.parametrize(("make_server", "make"), ENGINES)
def test_a_sleeping_cell_is_a_timeout(make_server, make) -> None:
    async def scene(sandbox: Sandbox, _server: object) -> CellResult:
        session = await sandbox.open([], seed=3)
        return await session.run_cell("import time; time.sleep(60)")

    hasty = dataclasses.replace(LOCAL.limits, cell_wall_s=0.2)
    late = play(make_server, lambda url: make(url, hasty), scene)
    assert (late.status, late.error_class) == (CellStatus.TIMEOUT, "TimeoutError")


@pytest.mark.parametrize("make", [fusion, gateway])
def test_a_dead_server_is_unavailable(make) -> None:
    async def scene() -> None:
        sandbox = make("http://127.0.0.1:9")
        with pytest.raises(SandboxUnavailable):
            await (await sandbox.open([], seed=0)).run_cell("1")
        await sandbox.close()

    RUNNER.run(scene())


def test_a_kernel_that_died_is_a_crash_and_the_next_cell_runs_in_a_fresh_one() -> None:
    async def scene(sandbox: Sandbox, server: GatewayServer) -> None:
        session = await sandbox.open([], seed=0)
        crash = await session.run_cell("die")
        assert (crash.status, crash.is_session_lost) == (CellStatus.CRASHED, True)
        assert server.sessions == {}
        after = await session.run_cell("6 * 7")
        assert (after.value, after.stderr) == ("42", RESTARTED)

    play(GatewayServer, gateway, scene)


@pytest.mark.parametrize("encoded", ["", "!", "aGVsbG8=", "')\nimport os #"])
def test_what_is_no_picture_is_dropped(encoded: str) -> None:
    assert RUNNER.run(DECODER.decode(encoded)) is None


@pytest.mark.parametrize("make", [fusion, gateway])
def test_a_missing_address_names_the_variable(make) -> None:
    with pytest.raises(SandboxUnavailable, match="AGENTIC_"):
        make("")
