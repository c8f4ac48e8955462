"""Pixel rows of pictures, made once per picture and checked against the grid that was rendered."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from agentic_vlm.agent.context import PlacedImage
from agentic_vlm.errors import ExactnessError

_BLANK_SIZE = (112, 112)
"""Of the picture that stands where a process has none, in pixels."""


class PixelStore:
    """Keeps the pixel rows of the pictures seen, by digest."""

    def __init__(self, image_processor: Any, *, max_bytes: int) -> None:
        """Wrap an image processor; `max_bytes` bounds what is kept."""
        self._image_processor = image_processor
        self._max_bytes = max_bytes
        self._size = 0
        self._seen: dict[str, torch.Tensor] = {}

    def rows(self, placed: Sequence[PlacedImage]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixel rows [sum of patches, row size] and grids [N, 3] of pictures in order.

        Raises:
            ExactnessError: the processor shrinks a picture to another grid than it was rendered
                with.
        """
        rows = [self._rows(one) for one in placed]
        return torch.cat(rows), torch.tensor([one.grid_thw for one in placed])

    def blank(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixel rows and grid [1, 3] of a small white picture."""
        white = Image.new("RGB", _BLANK_SIZE, "white")
        features = self._image_processor(images=[white], return_tensors="pt")
        return features["pixel_values"], features["image_grid_thw"]

    def _rows(self, placed: PlacedImage) -> torch.Tensor:
        if placed.digest not in self._seen:
            features = self._image_processor(images=[placed.image], return_tensors="pt")
            check_grid(placed, features["image_grid_thw"][0])
            rows = features["pixel_values"]
            if self._size + rows.nbytes > self._max_bytes:
                self._seen.clear()
                self._size = 0
            self._size += rows.nbytes
            self._seen[placed.digest] = rows
        return self._seen[placed.digest]


def check_grid(placed: PlacedImage, grid: torch.Tensor) -> None:
    """Refuse a picture that the processor cuts into another grid than the renderer counted.

    Raises:
        ExactnessError: the grids differ.
    """
    found = tuple(int(size) for size in grid.tolist())
    if found != tuple(placed.grid_thw):
        raise ExactnessError(
            f"turn {placed.turn}, picture {placed.digest[:12]}",
            f"the processor makes the grid {found} but {tuple(placed.grid_thw)} was rendered",
            "render with the pixel limits of the model's own processor (params: vision)",
        )
