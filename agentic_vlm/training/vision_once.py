"""Encode equal pictures once per micro-batch, and patchify each picture once per run.

The rollouts of a group show the same question picture. Encoding it once and handing the features to
every row gives the same values and the same gradient, since gradients of shared features add up.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature

from agentic_vlm.backends.encoder import image_digest


def share_pictures(model: Any) -> None:
    """Let the model encode equal pictures of a forward pass once, from now on."""
    inner = model.model
    encode = inner.get_image_features

    def encode_distinct(
        pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **options: Any
    ) -> Any:
        rows = pixel_values.split(image_grid_thw.prod(dim=-1).tolist())
        digests = [_digest(part) for part in rows]
        first = {digest: at for at, digest in reversed(list(enumerate(digests)))}
        kept = sorted(first.values())
        place = {digests[at]: number for number, at in enumerate(kept)}
        out = encode(
            torch.cat([rows[at] for at in kept]),
            image_grid_thw[kept],
            **{**options, "return_dict": True},
        )
        order = [place[digest] for digest in digests]
        out.pooler_output = tuple(out.pooler_output[number] for number in order)
        out.deepstack_features = [
            tuple(level[number] for number in order) for level in out.deepstack_features
        ]
        return out

    inner.get_image_features = encode_distinct


def _digest(part: torch.Tensor) -> bytes:
    return hashlib.blake2b(part.detach().cpu().numpy().tobytes(), digest_size=16).digest()


class RememberingImageProcessor:
    """An image processor that keeps the pixel rows of pictures it has seen."""

    def __init__(self, inner: Any, *, max_pictures: int) -> None:
        """Wrap a processor; `max_pictures` bounds the memory."""
        self._inner = inner
        self._max_pictures = max_pictures
        self._seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def __getattr__(self, name: str) -> Any:
        """Answer everything else as the wrapped processor does."""
        return getattr(self._inner, name)

    def __call__(self, images: Sequence[Image.Image], **options: Any) -> BatchFeature:
        """Return pixel rows and grids of all pictures in order."""
        rows = [self._features(image) for image in images]
        return BatchFeature(
            {
                "pixel_values": torch.cat([pixels for pixels, _ in rows]),
                "image_grid_thw": torch.stack([grid for _, grid in rows]),
            }
        )

    def _features(self, image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        digest = image_digest(image)
        if digest not in self._seen:
            if len(self._seen) >= self._max_pictures:
                self._seen.clear()
            features = self._inner(images=[image], return_tensors="pt")
            self._seen[digest] = (features["pixel_values"], features["image_grid_thw"][0])
        return self._seen[digest]
