"""Pictures for a vLLM server: prepared there once each, and placed among the trainer's tokens.

`/inference/v1/generate` takes token ids with expanded placeholders, and pictures as the features
that `/v1/chat/completions/render` made of them. Features depend on the picture alone; where they
belong is told anew for every context.
"""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from agentic_vlm.backends.seal import PixelDigests
from agentic_vlm.backends.turns import pad_runs
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import ExactnessError
from agentic_vlm.vision import encode_png


class _Prepared(NamedTuple):
    """A picture as the server prepared it."""

    name: str
    """Under which the server knows it."""
    features: str
    """Opaque: pixel rows and grid in the server's own coding."""
    num_tokens: int
    """Placeholders that the server makes of it."""


class ServedPictures:
    """Features of pictures, kept up to a number of bytes."""

    def __init__(self, server: VLLMServer, *, pad_id: int, max_bytes: int = 2**30) -> None:
        """Keep the parts.

        Args:
            server: prepares pictures.
            pad_id: the placeholder.
            max_bytes: of features that are kept; a picture of a million pixels has 32 MB.
        """
        self._server, self._pad_id, self._max_bytes = server, pad_id, max_bytes
        self._digests = PixelDigests(max_pictures=2**14)
        self._known: OrderedDict[str, asyncio.Task[_Prepared]] = OrderedDict()
        self._num_bytes = 0

    def digests(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the pixel digests of pictures."""
        return [self._digests.of(image) for image in images]

    async def place(
        self, ids: Sequence[int], images: Sequence[Image.Image], *, episode_id: str
    ) -> dict[str, Any] | None:
        """Return the features of a context; absent where it has no pictures.

        Args:
            ids: the context, placeholders expanded.
            images: one per placeholder run, in order.
            episode_id: names the episode in errors.

        Raises:
            ExactnessError: the server makes another number of tokens of a picture than the trainer.
            BackendUnavailable: the server failed.
        """
        if not images:
            return None
        prepared = await asyncio.gather(*(self._prepare(image) for image in images))
        runs = pad_runs(ids, self._pad_id)
        if len(runs) != len(prepared):
            what = f"{len(runs)} placeholder runs for {len(prepared)} pictures"
            raise ExactnessError(f"episode {episode_id}", what, "one run per picture")
        for number, ((_, length), one) in enumerate(zip(runs, prepared, strict=True)):
            if length != one.num_tokens:
                raise ExactnessError(
                    f"episode {episode_id}, image {number + 1}",
                    f"the server makes {one.num_tokens} tokens of it, the trainer {length}",
                    "give both the same preprocessor_config.json (min_pixels, max_pixels)",
                )
        places = [{"offset": offset, "length": length} for offset, length in runs]
        return {
            "mm_hashes": {"image": [one.name for one in prepared]},
            "mm_placeholders": {"image": places},
            "kwargs_data": {"image": [one.features for one in prepared]},
        }

    async def _prepare(self, image: Image.Image) -> _Prepared:
        digest = self._digests.of(image)
        if digest not in self._known:
            self._known[digest] = asyncio.ensure_future(self._render(image))
        self._known.move_to_end(digest)
        task = self._known[digest]
        try:
            # Shared by all episodes that show the picture: one that ends leaves the others theirs.
            return await asyncio.shield(task)
        finally:
            if task.done() and (task.cancelled() or task.exception() is not None):
                self._known.pop(digest, None)

    async def _render(self, image: Image.Image) -> _Prepared:
        uri = "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()
        content = [{"type": "image_url", "image_url": {"url": uri}}]
        answer = await self._server.post(
            "/v1/chat/completions/render",
            {
                "model": self._server.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": 1,
            },
        )
        try:
            found = answer["features"]
            (name,), (place,) = found["mm_hashes"]["image"], found["mm_placeholders"]["image"]
            features = ((found["kwargs_data"] or {}).get("image") or [None])[0]
            num_tokens = int(place["length"])
        except (KeyError, TypeError, ValueError) as fault:
            raise self._server.fault(f"unexpected features of a picture: {fault!r}") from fault
        if features is None:
            # vLLM names a picture that its cache holds without giving its features.
            fix = "start it with --mm-processor-cache-gb 0"
            raise self._server.fault("it gives no features of a picture", fix=fix)
        self._make_room(len(features))
        return _Prepared(name, features, num_tokens)

    def _make_room(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        for digest, task in list(self._known.items()):
            if self._num_bytes <= self._max_bytes:
                return
            if task.done() and not task.cancelled() and task.exception() is None:
                self._num_bytes -= len(task.result().features)
                del self._known[digest]
