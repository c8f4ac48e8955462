"""Seal of a packed row: what the collator built is what the model is trained on."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from agentic_vlm.errors import ExactnessError

_SEALED = (
    "input_ids",
    "position_ids",
    "segments",
    "sources",
    "labels",
    "picture_index",
    "image_grid_thw",
)


def seal_row(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return [1 + P] digests: of the row, and of each of its P distinct pictures.

    Pictures are pixel rows, or features of every depth where the tower is frozen.
    """
    row = hashlib.sha256()
    for name in _SEALED:
        if inputs.get(name) is not None:
            row.update(f"{name}{tuple(inputs[name].shape)}".encode())
            row.update(_bytes(inputs[name]))
    shown = _pictures(inputs) if inputs["input_ids"].is_cpu else iter(())
    digests = [row.digest(), *(hashlib.sha256(_bytes(one)).digest() for one in shown)]
    return torch.tensor([int.from_bytes(one[:8], "big", signed=True) for one in digests])


def check_row(inputs: Mapping[str, Any]) -> None:
    """Check a row on its way into the model; pictures only where they are in host memory.

    Raises:
        ExactnessError: a token, a position, what is scored or a picture is not what was packed.
    """
    expected = inputs["row_seal"].tolist()
    found = seal_row(inputs).tolist()
    if not inputs["input_ids"].is_cpu:
        expected = expected[:1]
    if found == expected:
        return
    number = next(
        (at for at, (one, other) in enumerate(zip(found, expected, strict=False)) if one != other),
        min(len(found), len(expected)),
    )
    raise ExactnessError(
        "packed row" if number == 0 else f"packed row, picture {number}",
        "tokens, positions or labels are not those that were packed"
        if number == 0
        else "this is not the picture that was packed",
        "nothing may edit a row between collator and model",
    )


def _pictures(inputs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    grids = inputs.get("image_grid_thw")
    if inputs.get("pixel_values") is not None and grids is not None:
        yield from inputs["pixel_values"].split(grids.prod(dim=-1).tolist())
    elif inputs.get("mm_encoder_outputs") is not None:
        encoded = inputs["mm_encoder_outputs"]["image"]
        deep = getattr(encoded, "deepstack_features", None) or []
        for levels in zip(encoded.pooler_output, *deep, strict=True):
            yield torch.stack(levels)


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
