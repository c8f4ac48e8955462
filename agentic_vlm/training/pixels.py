"""Pixel rows of pictures, made once per picture and checked against the grid that was rendered."""

from collections.abc import Sequence
from typing import Any

import torch

from agentic_vlm.agent.context import PlacedImage
from agentic_vlm.errors import ExactnessError


class PixelStore:
    """Keeps the pixel rows of the pictures seen, by digest."""

    def __init__(self, image_processor: Any, *, max_pictures: int) -> None:
        """Wrap an image processor; `max_pictures` bounds the memory."""
        self._image_processor = image_processor
        self._max_pictures = max_pictures
        self._seen: dict[str, torch.Tensor] = {}

    def rows(self, placed: Sequence[PlacedImage]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixel rows [sum of patches, row size] and grids [N, 3] of pictures in order.

        Raises:
            ExactnessError: the processor shrinks a picture to another grid than it was rendered
                with.
        """
        rows = [self._rows(one) for one in placed]
        return torch.cat(rows), torch.tensor([one.grid_thw for one in placed])

    def _rows(self, placed: PlacedImage) -> torch.Tensor:
        if placed.digest not in self._seen:
            if len(self._seen) >= self._max_pictures:
                self._seen.clear()
            features = self._image_processor(images=[placed.image], return_tensors="pt")
            check_grid(placed, features["image_grid_thw"][0])
            self._seen[placed.digest] = features["pixel_values"]
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
