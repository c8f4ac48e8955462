"""Encode each picture once: features by pixel digest, shared by all rows that show it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

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


class _Features(NamedTuple):
    """What the vision tower makes of one picture."""

    pooled: torch.Tensor
    """[vision tokens, hidden], what the language model reads in place of placeholders."""
    deep: list[torch.Tensor]
    """The same shape, added in deeper layers; none for Qwen2.5-VL."""
    grid: torch.Tensor
    """[3] (t, h, w) in patches, unmerged."""

    @property
    def num_bytes(self) -> int:
        return sum(one.nbytes for one in (self.pooled, *self.deep))


class PictureEncoder:
    """Keeps the vision features of the pictures seen, for as long as the vision tower is the same.

    It looks at the tower itself before every use: tensors that were replaced or written to since
    make it forget. A tower whose parameters are trained is not relied on beyond `forget_trained`.
    """

    def __init__(
        self,
        model: Any,
        image_processor: Any,
        *,
        max_pictures: int,
        max_bytes: int = 2 * 2**30,
    ) -> None:
        """Remember the parts; nothing is computed yet.

        Args:
            model: a Qwen-VL model, without adapters around it.
            image_processor: of the model.
            max_pictures: features that are kept; the longest unused leave first.
            max_bytes: of features that are kept. A picture of 1,280 vision tokens has 9 MB in a 7B
                model.
        """
        self._model = model
        self._image_processor = image_processor
        self._max_pictures, self._max_bytes = max_pictures, max_bytes
        self._features: OrderedDict[str, _Features] = OrderedDict()
        self._num_bytes = 0
        self._digests = PixelDigests(max_pictures=4 * max_pictures)
        self._tower: tuple[Any, ...] = ()
        self.num_encoded = 0
        """Pictures that went through the tower so far, for figures."""

    def clear(self) -> None:
        """Forget everything."""
        self._features.clear()
        self._num_bytes = 0

    def forget_trained(self) -> None:
        """Forget everything if the tower is trained; called whenever the weights may have changed.

        A tower of which no parameter is trained keeps its features from step to step.
        """
        if is_trainable(self._model.model.visual):
            self.clear()

    def encode(
        self, images: Sequence[Image.Image]
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        """Return encoder outputs for all images in order, and their grids [N, 3]."""
        digests = [self.digest(image) for image in images]
        return self._encode(digests, lambda number: images[number])

    def grids(self, images: Sequence[Image.Image]) -> list[list[int]]:
        """Return (t, h, w) of pictures in patches, unmerged."""
        return self.encode(images)[1].tolist() if images else []

    def encode_placed(
        self, placed: Sequence[Placed]
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        """Return the same for pictures whose digests the caller has checked."""
        digests = [one.digest for one in placed]
        # A stored picture is decoded when it is looked at: only where it must be encoded.
        return self._encode(digests, lambda number: placed[number].image)

    def digest(self, image: Image.Image) -> str:
        """Return the digest of a picture object, computed once while it lives."""
        return self._digests.of(image)

    def _encode(
        self, digests: Sequence[str], image_at: Callable[[int], Image.Image]
    ) -> tuple[BaseModelOutputWithPooling, torch.Tensor]:
        self._forget_changed()
        wanted = {digest: number for number, digest in enumerate(digests)}
        missing = [digest for digest in wanted if digest not in self._features]
        self._add({digest: image_at(wanted[digest]) for digest in missing})
        for digest in wanted:
            self._features.move_to_end(digest)
        found = [self._features[digest] for digest in digests]
        self._evict(num_kept=len(wanted))
        pooled: Any = tuple(one.pooled for one in found)
        output = BaseModelOutputWithPooling(pooler_output=pooled)
        if found and found[0].deep:
            levels = zip(*(one.deep for one in found), strict=True)
            output["deepstack_features"] = [list(level) for level in levels]
        return output, torch.stack([one.grid for one in found])

    def _forget_changed(self) -> None:
        tower = tensor_state(self._model.model.visual)
        if tower != self._tower:
            self.clear()
            self._tower = tower

    def _evict(self, *, num_kept: int) -> None:
        """Let the longest unused pictures go where there are too many; the last ones stay."""
        while len(self._features) > num_kept and (
            len(self._features) > self._max_pictures or self._num_bytes > self._max_bytes
        ):
            _, old = self._features.popitem(last=False)
            self._num_bytes -= old.num_bytes

    # Features outlive the sampler's inference mode: the trainer computes gradients with them.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _add(self, missing: Mapping[str, Image.Image]) -> None:
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
            # Copies: a slice would keep the features of the whole batch in memory.
            deep = [level[index].clone() for level in levels]
            kept = _Features(out.pooler_output[index].clone(), deep, grids[index].clone())
            self._features[digest] = kept
            self._num_bytes += kept.num_bytes
        self.num_encoded += len(missing)


def is_trainable(module: torch.nn.Module) -> bool:
    """Tell whether any parameter of a module takes part in training."""
    return any(parameter.requires_grad for parameter in module.parameters())


def tensor_state(module: torch.nn.Module) -> tuple[Any, ...]:
    """Return what differs after any parameter or buffer was replaced, moved or written to in place.

    Equal states of one module mean equal values, as long as nobody writes around autograd's
    counters (`.data`), which only optimisers of trained parameters do.
    """
    # An inference tensor has no counter: no two states of such a module are equal.
    return tuple(
        (id(one), one.data_ptr(), object() if one.is_inference() else one._version)
        for one in (*module.parameters(), *module.buffers())
    )
