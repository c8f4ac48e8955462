"""Daemon and client: real sockets, real sessions, on one machine."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import numpy as np
import pytest
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellStatus
from agentic_vlm.sandbox.daemon import Daemon
from agentic_vlm.sandbox.process import ProcessSandbox, ProcessSession
from agentic_vlm.sandbox.released import TIMED_OUT, ReleasedContract
from agentic_vlm.sandbox.remote import RemoteSandbox

T = TypeVar("T")
PARAMS = SandboxParams(num_spares=0, cell_wall_s=20.0, max_output_chars=300)
RUNNER, LOCAL = asyncio.Runner(), ProcessSandbox(PARAMS)


class Shared:
    """A sandbox of this module that a daemon may use but not end."""

    def __init__(self) -> None:
        self.sessions: list[ProcessSession] = []

    async def open(self, images: list[Image.Image], *, seed: int) -> ProcessSession:
        self.sessions.append(await LOCAL.open(images, seed=seed))
        return self.sessions[-1]

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True, scope="module")
def _closed_place() -> Iterator[None]:
    yield
    RUNNER.run(LOCAL.close())
    RUNNER.close()


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[tuple[Daemon, str, Shared]]:
    shared = Shared()
    daemon = Daemon(shared, LOCAL.limits, **{"drain_s": 0.0, **options})  # type: ignore[arg-type]
    port = await daemon.start("127.0.0.1", 0)
    try:
        yield daemon, f"http://127.0.0.1:{port}", shared
    finally:
        await daemon.close()


@asynccontextmanager
async def calling(*urls: str, token: str = "") -> AsyncIterator[RemoteSandbox]:
    remote = RemoteSandbox(urls, LOCAL.limits, token=token)
    try:
        yield remote
    finally:
        await remote.close()


def play(scene: Callable[[], Coroutine[None, None, T]]) -> T:
    return RUNNER.run(scene())


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_state_pictures_and_errors_come_through_unchanged() -> None:
    image = noise(301, 17)

    async def scene() -> None:
        async with serving() as (_, url, _shared), calling(url) as remote:
            session = await remote.open([image, image.rotate(180)], seed=3)
            first = await session.run_cell("x = 41\nprint('日本')\nimage_1")
            assert [one.tobytes() for one in first.images] == [image.tobytes()]
            assert first.stdout == "日本\n"
            second = await session.run_cell("x + 1, image_2.size")
            assert second.value == "(42, (301, 17))"
            error = await session.run_cell("1 / 0")
            assert (error.status, error.error_class) == (CellStatus.ERROR, "ZeroDivisionError")
            crash = await session.run_cell("print('partial'); import os; os._exit(1)")
            assert (crash.status, crash.stdout) == (CellStatus.CRASHED, "partial\n")
            assert crash.is_session_lost
            assert (await session.run_cell("image_1.size")).value == "(301, 17)"

    play(scene)


def test_a_missing_token_is_refused_and_a_right_one_is_not() -> None:
    async def scene() -> str:
        async with serving(token="open sesame") as (_, url, _shared):
            async with calling(url, token="open says me") as remote:
                with pytest.raises(SandboxUnavailable, match="401"):
                    await remote.open([], seed=0)
            async with calling(url, token="open sesame") as remote:
                return (await (await remote.open([], seed=0)).run_cell("2")).value

    assert play(scene) == "2"


def test_sessions_spread_and_a_full_or_dead_daemon_is_passed_over() -> None:
    async def scene() -> list[int]:
        async with (
            serving() as (_, one, first),
            serving(max_sessions=1) as (_, two, second),
            calling("http://127.0.0.1:9", one, two) as remote,
        ):
            for seed in range(4):
                session = await remote.open([], seed=seed)
                assert (await session.run_cell("1")).value == "1"
            return [len(first.sessions), len(second.sessions)]

    assert play(scene) == [3, 1]


def test_no_daemon_is_unavailable_and_says_which_failed() -> None:
    async def scene() -> str:
        async with calling("http://127.0.0.1:9") as remote:
            with pytest.raises(SandboxUnavailable) as caught:
                await remote.open([], seed=0)
            return caught.value.what

    assert play(scene).startswith("http://127.0.0.1:9: ")


def test_a_daemon_with_other_limits_is_refused() -> None:
    async def scene() -> None:
        async with serving() as (_, url, _shared):
            other = ProcessSandbox(PARAMS.model_copy(update={"memory_mb": 7})).limits
            remote = RemoteSandbox([url], other)
            with pytest.raises(SandboxUnavailable, match="other limits"):
                await remote.open([], seed=0)
            await remote.close()

    play(scene)


def test_a_cell_that_was_accepted_is_not_repeated_when_the_daemon_goes() -> None:
    async def scene() -> int:
        async with serving() as (daemon, one, first), serving() as (_, two, second):
            async with calling(one, two) as remote:
                session = await remote.open([], seed=0)
                cell = asyncio.create_task(session.run_cell("import time; time.sleep(60)"))
                while not first.sessions or first.sessions[0]._num_requests == 0:
                    await asyncio.sleep(0.01)
                await daemon.close()
                with pytest.raises(SandboxUnavailable, match="session is lost"):
                    await cell
                with pytest.raises(SandboxUnavailable):
                    await session.run_cell("1")
            return len(second.sessions)

    assert play(scene) == 0


def test_a_draining_daemon_takes_nothing_new_and_lets_the_open_session_finish() -> None:
    async def scene() -> str:
        async with serving(drain_s=60.0) as (daemon, url, _shared), calling(url) as remote:
            session = await remote.open([], seed=0)
            closing = asyncio.create_task(daemon.close())
            await asyncio.sleep(0)
            with pytest.raises(SandboxUnavailable, match="503"):
                await remote.open([], seed=1)
            value = (await session.run_cell("6 * 7")).value
            await session.close()
            await closing
            return value

    assert play(scene) == "42"


def test_a_client_that_hangs_up_ends_its_session_and_the_cell_in_it() -> None:
    async def scene() -> None:
        async with serving() as (_, url, shared), calling(url) as remote:
            session = await remote.open([], seed=0)
            cell = asyncio.create_task(session.run_cell("import time; time.sleep(60)"))
            while not shared.sessions or shared.sessions[0]._num_requests == 0:
                await asyncio.sleep(0.01)
            cell.cancel()
            await asyncio.wait([cell])
            while shared.sessions[0].pid:
                await asyncio.sleep(0.01)

    RUNNER.run(asyncio.wait_for(scene(), 20.0))


@pytest.mark.parametrize("message", [b"", b"\xff" * 9, b"\0\0\0\2[]", b"\0\0\0\2{}"])
def test_a_malformed_opening_ends_the_connection_only(message: bytes) -> None:
    async def scene() -> int:
        async with serving() as (_, url, shared), aiohttp.ClientSession() as http:
            async with http.ws_connect(f"{url}/v1/session") as socket:
                await socket.send_bytes(message)
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            async with http.get(f"{url}/v1/health") as reply:
                assert (await reply.json())["sessions"] == 0
            return len(shared.sessions)

    assert play(scene) == 0


async def post(url: str, path: str, **body: object) -> dict:
    async with aiohttp.ClientSession() as http, http.post(f"{url}{path}", json=body) as reply:
        return await reply.json()


def test_the_released_contract_keeps_variables_by_session_id_and_returns_png() -> None:
    async def scene() -> None:
        extra = ReleasedContract(LOCAL, max_sessions=2)
        async with serving(extra=extra) as (_, url, _shared):

            async def run(name: str, code: str, timeout: float = 20) -> dict:
                return await post(
                    url, "/jupyter_sandbox", session_id=name, code=code, timeout=timeout
                )

            await run("a", "x = 5")
            assert (await run("a", "x"))["output"]["result"] == "5"
            other = await run("b", "x")
            assert other["status"] == "success"
            assert "NameError" in other["output"]["stderr"]
            shown = await run("a", "from PIL import Image; Image.new('RGB', (3, 2), 'red')")
            (png,) = shown["output"]["images"]
            assert Image.open(io.BytesIO(base64.b64decode(png))).size == (3, 2)
            late = await run("b", "import time; time.sleep(9)", timeout=0.2)
            assert (late["status"], late["output"]["stderr"]) == ("success", TIMED_OUT)
            assert (await run("a", " "))["status"] == "error"
            # A third session ends the one that was idle longest.
            await run("c", "1")
            assert "NameError" in (await run("b", "x"))["output"]["stderr"]
            await post(url, "/clear_session", session_id="c")

    play(scene)
