"""A vLLM server that is busy, goes away, comes back or answers nonsense: outages, never answers."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from agentic_vlm.backends.base import Request, SamplingParams
from agentic_vlm.backends.vllm_pictures import ServedPictures
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import BackendUnavailable, ExactnessError

_PAD = 7
_IDS = {"<|im_end|>": 1, "<|image_pad|>": _PAD}


class Tokenizer:
    """As much of one as a policy asks for."""

    def convert_tokens_to_ids(self, token: str) -> int:
        return _IDS.get(token, 100)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [len(text)]

    def decode(self, ids: Any, **options: Any) -> str:
        return " ".join(map(str, ids))


class Processor:
    tokenizer = Tokenizer()
    image_token_id = _PAD


def answer(ids: list[int], **changes: Any) -> dict[str, Any]:
    entries = [{"token": f"token_id:{token}", "logprob": -0.5} for token in ids]
    choice = {"index": 0, "token_ids": ids, "logprobs": {"content": entries}}
    return {"choices": [{**choice, "finish_reason": "stop", **changes}]}


Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A server whose answers a test writes; it keeps what it was asked."""

    def __init__(self, **routes: Respond) -> None:
        self.seen: list[str] = []
        self.bodies: list[Any] = []
        self._routes = routes

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        respond = self._routes.get(request.path.rsplit("/", 1)[-1])
        if respond is not None:
            return await respond(request)
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        return web.json_response({})

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._respond)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_port=bool(port)).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


def connect(url: str, *, patience_s: float = 30.0) -> VLLMServer:
    return VLLMServer(url, patience_s=patience_s, first_pause_s=0.01)


async def complete(server: VLLMServer) -> Any:
    policy = VLLMPolicy(server, Processor(), policy_id="m")
    try:
        return await policy.complete(
            Request("e", 0, [], [5, 6], [], ""), SamplingParams(1.0, 4, ("</code>",), 3)
        )
    finally:
        await policy.close()


def test_a_busy_server_is_asked_again() -> None:
    statuses = [503, 429, 200]

    async def generate(request: web.Request) -> web.Response:
        return web.json_response(answer([5, 1]), status=statuses.pop(0))

    async def go() -> None:
        server = Server(generate=generate)
        async with server.listening() as url:
            out = await complete(connect(url))
        assert out.token_ids == (5, 1)
        assert server.seen.count("/inference/v1/generate") == 3

    asyncio.run(go())


def test_a_request_that_was_accepted_and_lost_is_an_outage_and_not_sent_again() -> None:
    async def generate(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def go() -> None:
        server = Server(generate=generate)
        async with server.listening() as url:
            with pytest.raises(BackendUnavailable, match="accepted, then lost"):
                await complete(connect(url))
        assert server.seen.count("/inference/v1/generate") == 1

    asyncio.run(go())


@pytest.fixture
def port() -> Iterator[int]:
    """Give a port that nobody else takes, and that refuses connections while nobody listens."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_server_that_stays_away_is_an_outage(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(BackendUnavailable, match="waited 0 s: not reached"):
        asyncio.run(complete(connect(url, patience_s=0.1)))


def test_a_server_that_comes_back_gets_the_last_weights_before_it_is_asked(
    port: int,
) -> None:
    async def generate(request: web.Request) -> web.Response:
        return web.json_response(answer([5, 1]))

    async def go() -> list[str]:
        first, second = Server(generate=generate), Server(generate=generate)
        async with first.listening(port) as url:
            server = connect(url)
            await server.load_weights(Path("/weights/1"))
            assert [one for one in first.bodies if one] == [
                {"method": "reload_weights", "kwargs": {"weights_path": "/weights/1"}}
            ]
        waiting = asyncio.ensure_future(complete(server))
        # The task runs into the closed port before another server takes it.
        while server._is_known:
            await asyncio.sleep(0)
        async with second.listening(port):
            out = await waiting
        assert out.token_ids == (5, 1)
        return second.seen

    assert asyncio.run(go()) == [
        "/health",
        "/v1/models",
        "/server_info",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/reset_encoder_cache",
        "/inference/v1/generate",
    ]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (answer([]), "0 tokens"),
        (answer([5, 5, 5, 5, 5]), "5 tokens, 4 were asked for"),
        (answer([5, _PAD]), "banned ids \\[7\\]"),
        (answer([5], logprobs=None), "no log-probabilities"),
        (answer([5], logprobs={"content": []}), "log-probabilities of other ones"),
        (answer([5], logprobs={"content": [{"token": "token_id:6", "logprob": -1}]}), "of other"),
        (answer([5], logprobs={"content": [{"token": "token_id:5", "logprob": 1}]}), "up to 0"),
        (answer([5], finish_reason="abort"), "unexpected answer"),
        ({"choices": []}, "unexpected answer"),
        ([], "unexpected answer"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_outage(body: Any, what: str) -> None:
    async def generate(request: web.Request) -> web.Response:
        return web.json_response(body)

    async def go() -> None:
        async with Server(generate=generate).listening() as url:
            with pytest.raises(BackendUnavailable, match=what):
                await complete(connect(url))

    asyncio.run(go())


def test_a_refusal_says_what_the_server_said() -> None:
    async def generate(request: web.Request) -> web.Response:
        return web.Response(status=400, text="maximum context length is 8")

    async def go() -> None:
        async with Server(generate=generate).listening() as url:
            with pytest.raises(BackendUnavailable, match="status 400: maximum context length"):
                await complete(connect(url))

    asyncio.run(go())


def test_a_server_without_the_endpoints_for_weights_is_named_with_its_start() -> None:
    async def missing(request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def raw(request: web.Request) -> web.Response:
        return web.json_response({"vllm_config": {"model_config": {"logprobs_mode": "raw_logits"}}})

    async def go(fault: str, **routes: Respond) -> None:
        async with Server(**routes).listening() as url:
            server = connect(url)
            with pytest.raises(BackendUnavailable, match=fault) as caught:
                await server.load_weights(Path("/weights"))
            await server.close()
        assert "VLLM_SERVER_DEV_MODE=1" in caught.value.fix

    asyncio.run(go("status 404", server_info=missing))
    asyncio.run(go("status 404", collective_rpc=missing))
    asyncio.run(go("it gives raw_logits", server_info=raw))


def features(length: int, *, data: str | None = "pixels") -> dict[str, Any]:
    return {
        "features": {
            "mm_hashes": {"image": ["h"]},
            "mm_placeholders": {"image": [{"offset": 3, "length": length}]},
            "kwargs_data": {"image": [data]},
        }
    }


def place(ids: list[int], *, rendered: Any, num_shown: int = 1) -> tuple[Any, list[str]]:
    """Place one picture so many times, one context after the other; return the last features."""

    async def render(request: web.Request) -> web.Response:
        return web.json_response(rendered)

    async def go() -> tuple[Any, list[str]]:
        server = Server(render=render)
        async with server.listening() as url:
            asked = connect(url)
            pictures = ServedPictures(asked, pad_id=_PAD)
            image = Image.new("RGB", (8, 8))
            try:
                for _ in range(num_shown):
                    found = await pictures.place(ids, [image], episode_id="e")
            finally:
                await asked.close()
        return found, server.seen

    return asyncio.run(go())


def test_a_picture_is_prepared_once_and_placed_where_the_trainer_has_it() -> None:
    found, seen = place([2, _PAD, _PAD, 3], rendered=features(2), num_shown=3)
    assert found["mm_placeholders"] == {"image": [{"offset": 1, "length": 2}]}
    assert found["kwargs_data"] == {"image": ["pixels"]}
    assert seen.count("/v1/chat/completions/render") == 1


def test_other_pixel_limits_of_the_server_are_found_before_anything_is_sampled() -> None:
    with pytest.raises(ExactnessError, match="image 1: the server makes 9 tokens of it"):
        place([2, _PAD, _PAD, 3], rendered=features(9))
    with pytest.raises(ExactnessError, match="2 placeholder runs for 1 pictures"):
        place([_PAD, 3, _PAD], rendered=features(1))


def test_a_server_that_keeps_features_to_itself_is_told_how_to_start() -> None:
    with pytest.raises(BackendUnavailable, match="gives no features") as caught:
        place([_PAD], rendered=features(1, data=None))
    assert "--mm-processor-cache-gb 0" in caught.value.fix


def test_features_beyond_the_limit_are_forgotten_the_oldest_first() -> None:
    async def render(request: web.Request) -> web.Response:
        return web.json_response(features(1, data="x" * 10))

    async def go() -> int:
        server = Server(render=render)
        async with server.listening() as url:
            asked = connect(url)
            pictures = ServedPictures(asked, pad_id=_PAD, max_bytes=25)
            images = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(3)]
            for image in [*images, images[2], images[1], images[0]]:
                await pictures.place([_PAD], [image], episode_id="e")
            await asked.close()
        return server.seen.count("/v1/chat/completions/render")

    assert asyncio.run(go()) == 4
