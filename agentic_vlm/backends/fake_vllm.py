"""A small server with the endpoints of vLLM that we use, for a card-less machine and for tests.

    python -m agentic_vlm.backends.fake_vllm models/sft --port 8000

Real HTTP, a real model and the in-process sampler behind it; a token costs what it costs there.
Like vLLM it keeps what it made of pictures until `/reset_encoder_cache`, refuses features that do
not fit the placeholders, and reads weights from a folder. Unlike vLLM it keeps no keys and values
between requests, gives log-probabilities as they are before ids are banned, and its features are
the picture itself. One process, no token, no limits: do not put it on a network.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from agentic_vlm.backends.generate import Continuation, Row, Sampler
from agentic_vlm.backends.local import load_model, load_processor
from agentic_vlm.backends.turns import BAN_BIAS

_MAX_BODY_BYTES = 2**30
_PREFIX = "data:image/png;base64,"

Waiting = tuple[Row, frozenset[int], asyncio.Future[Continuation]]


class FakeVLLM:
    """Serves one model; `app` is an aiohttp application."""

    def __init__(self, model: Any, processor: Any, *, name: str = "fake") -> None:
        """Keep the model, which `reload_weights` changes in place."""
        self.name = name
        self.num_requests = 0
        """Requests for a completion so far."""
        self._model, self._processor = model, processor
        self._samplers: dict[frozenset[int], Sampler] = {}
        self._waiting: list[Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fake_vllm")
        self.app = web.Application(client_max_size=_MAX_BODY_BYTES)
        self.app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.get("/server_info", self._server_info),
                web.post("/v1/chat/completions/render", self._render),
                web.post("/inference/v1/generate", self._generate),
                web.post("/collective_rpc", self._collective_rpc),
                web.post("/reset_prefix_cache", self._reset_prefix_cache),
                web.post("/reset_encoder_cache", self._reset_encoder_cache),
            ]
        )

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen and return the address; port 0 takes a free one."""
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening and computing."""
        await self._runner.cleanup()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.name}]})

    async def _server_info(self, request: web.Request) -> web.Response:
        config = {"model_config": {"logprobs_mode": "processed_logprobs"}}
        return web.json_response({"vllm_config": config})

    async def _render(self, request: web.Request) -> web.Response:
        """Prepare the pictures of a conversation; its text does not matter here."""
        body = await request.json()
        parts = [
            part
            for message in body["messages"]
            for part in message["content"]
            if part["type"] == "image_url"
        ]
        names, places, features = [], [], []
        for part in parts:
            png = part["image_url"]["url"].removeprefix(_PREFIX)
            names.append(hashlib.sha256(png.encode()).hexdigest())
            places.append({"offset": 0, "length": self._num_tokens(_decode(png))})
            features.append(png)
        shown = {
            "mm_hashes": {"image": names},
            "mm_placeholders": {"image": places},
            "kwargs_data": {"image": features},
        }
        return web.json_response({"token_ids": [], "features": shown if parts else None})

    async def _generate(self, request: web.Request) -> web.Response:
        self.num_requests += 1
        body = await request.json()
        ids, features = body["token_ids"], body["features"] or {}
        fault = self._fault(ids, features)
        if fault:
            return web.json_response({"error": {"message": fault}}, status=400)
        asked = body["sampling_params"]
        row = Row(
            ids=ids,
            images=[_decode(png) for png in features.get("kwargs_data", {}).get("image", [])],
            temperature=asked["temperature"],
            max_tokens=asked["max_tokens"],
            seed=asked["seed"],
            stop_ids=frozenset(asked["stop_token_ids"]),
            stop_texts=tuple(asked["stop"]),
        )
        bias = asked.get("logit_bias") or {}
        banned = frozenset(int(token) for token, value in bias.items() if value <= BAN_BIAS)
        out = await self._enqueue(row, banned)
        entries = [
            {"token": f"token_id:{token}", "logprob": logprob, "top_logprobs": []}
            for token, logprob in zip(out.ids, out.logprobs, strict=True)
        ]
        choice = {
            "index": 0,
            "token_ids": out.ids,
            "logprobs": {"content": entries},
            "finish_reason": out.finish_reason.value,
        }
        return web.json_response({"request_id": body["request_id"], "choices": [choice]})

    async def _collective_rpc(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["method"] != "reload_weights":
            return web.json_response({"error": {"message": "no such method"}}, status=400)
        folder = Path(body["kwargs"]["weights_path"])
        if not folder.is_absolute() or not folder.is_dir():
            return web.json_response({"error": {"message": f"no folder {folder}"}}, status=500)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._load, folder)
        return web.json_response({"results": [None]})

    async def _reset_prefix_cache(self, request: web.Request) -> web.Response:
        return web.json_response({"success": True})

    async def _reset_encoder_cache(self, request: web.Request) -> web.Response:
        for sampler in self._samplers.values():
            sampler.encoder.clear()
        return web.Response()

    def _load(self, folder: Path) -> None:
        self._model.load_state_dict(load_model(folder).state_dict())

    def _num_tokens(self, image: Image.Image) -> int:
        image_processor = self._processor.image_processor
        (grid,) = image_processor(images=[image], return_tensors="pt")["image_grid_thw"]
        return int(grid.prod()) // int(image_processor.merge_size) ** 2

    def _fault(self, ids: list[int], features: Mapping[str, Any]) -> str:
        """Return what is wrong between tokens and pictures; empty where nothing is."""
        pad = self._processor.image_token_id
        places = features.get("mm_placeholders", {}).get("image", [])
        shown = [at for one in places for at in range(one["offset"], one["offset"] + one["length"])]
        if shown != [at for at, token in enumerate(ids) if token == pad]:
            return "placeholders are not where the features belong"
        pictures = features.get("kwargs_data", {}).get("image", [])
        if [self._num_tokens(_decode(png)) for png in pictures] != [
            one["length"] for one in places
        ]:
            return "features do not fit their placeholders"
        return ""

    async def _enqueue(self, row: Row, banned: frozenset[int]) -> Continuation:
        future: asyncio.Future[Continuation] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, banned, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        return await future

    async def _work(self) -> None:
        """Sample whatever waits, together where the same ids are banned."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            banned = self._waiting[0][1]
            batch = [entry for entry in self._waiting if entry[1] == banned]
            self._waiting = [entry for entry in self._waiting if entry[1] != banned]
            sampler = self._sampler(banned)
            rows = [row for row, _, _ in batch]
            outs = await loop.run_in_executor(self._thread, sampler.continue_rows, rows)
            for (_, _, future), out in zip(batch, outs, strict=True):
                if not future.done():
                    future.set_result(out)

    def _sampler(self, banned: frozenset[int]) -> Sampler:
        if banned not in self._samplers:
            self._samplers[banned] = Sampler(
                self._model, self._processor, banned_ids=sorted(banned)
            )
        return self._samplers[banned]


def _decode(png: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    image.load()
    return image


async def _serve(folder: Path, port: int) -> None:
    server = FakeVLLM(load_model(folder), load_processor(folder), name=str(folder))
    address = await server.start(port=port)
    # Whoever starts the server waits for this line.
    sys.stderr.write(f"listening at {address}\n")
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a checkpoint as vLLM would, on a CPU.")
    parser.add_argument("checkpoint", type=Path, help="folder with weights and processor")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    asyncio.run(_serve(options.checkpoint, options.port))
