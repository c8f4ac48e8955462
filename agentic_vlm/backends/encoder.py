"""Encode each picture once: features by pixel digest, shared by all rows that show it."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from agentic_vlm.backends.seal import PixelDigests


class Placed(Protocol):
    """A picture whose digest is known."""

    @property
    def image(self) -> Image.Image:
        """The picture at original size."""
        ...

    @property
    def digest(self) -> str:
        """Digest of size and pixels."""
        ...


class PictureEncoder:
    """Keeps the vision features of the pictures seen since the last change of the weights."""

    def __init__(self, model: Any, image_processor: Any, *, max_pictures: int) -> None:
        """Remember the parts; nothing is computed yet."""
        self._model = model
        self._image_processor = image_processor
        self._max_pictures = max_pictures
        self._features: dict[str, tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]] = {}
        self._digests = PixelDigests(max_pictures=4 * max_pictures)

    def clear(self) -> None:
        """Forget everything; called whenever the weights change."""
        self._features.clear()

    def encode(
        self, images: Sequence[Image.Image]
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        """Return encoder outputs for all images in order, and their grids [N, 3]."""
        return self._encode([self.digest(image) for image in images], images)

    def grids(self, images: Sequence[Image.Image]) -> list[list[int]]:
        """Return (t, h, w) of pictures in patches, unmerged."""
        if not images:
            return []
        self.encode(images)
        return [self._features[self.digest(image)][2].tolist() for image in images]

    def encode_placed(
        self, placed: Sequence[Placed]
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        """Return the same for pictures whose digests the caller has checked."""
        return self._encode([one.digest for one in placed], [one.image for one in placed])

    def digest(self, image: Image.Image) -> str:
        """Return the digest of a picture object, computed once while it lives."""
        return self._digests.of(image)

    def _encode(
        self, digests: Sequence[str], images: Sequence[Image.Image]
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        missing = {d: i for d, i in zip(digests, images, strict=True) if d not in self._features}
        if len(self._features) + len(missing) > self._max_pictures:
            self._features.clear()
            missing = dict(zip(digests, images, strict=True))
        self._add(missing)
        found = [self._features[digest] for digest in digests]
        pooled: Any = tuple(one for one, _, _ in found)
        output = BaseModelOutputWithPooling(pooler_output=pooled)
        if found and found[0][1]:
            output["deepstack_features"] = [
                list(level) for level in zip(*(deep for _, deep, _ in found), strict=True)
            ]
        return output, torch.stack([grid for *_, grid in found])

    def _add(self, missing: dict[str, Image.Image]) -> None:
        if not missing:
            return
        features = self._image_processor(images=list(missing.values()), return_tensors="pt")
        grids = features["image_grid_thw"]
        device = next(self._model.parameters()).device
        out = self._model.model.get_image_features(
            features["pixel_values"].to(device), grids.to(device), return_dict=True
        )
        # Qwen3-VL feeds features of several depths to the language model, Qwen2.5-VL of one.
        levels = getattr(out, "deepstack_features", None) or []
        for index, digest in enumerate(missing):
            deep = [level[index] for level in levels]
            self._features[digest] = (out.pooler_output[index], deep, grids[index])
