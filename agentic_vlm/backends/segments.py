"""Attention inside segments: many trajectories in one row, none of which sees another.

A packed row holds trajectories one after the other. Each segment attends causally to itself and,
where it continues a shared prompt, to all of that prompt. Nothing of size row x row is ever made:
the cost is that of the trajectories alone. Elsewhere the function is torch's usual attention, so
that one model can sample padded batches and train on packed rows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SEGMENTED = "segmented_sdpa"
"""Name under which transformers finds the attention of this module."""


class Segment(NamedTuple):
    """A stretch of a packed row, and the stretch that it continues."""

    start: int
    end: int
    prefix_start: int
    prefix_end: int
    """Equal to `prefix_start` where the segment begins a trajectory."""


def attend_in_segments(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Sequence[Segment] | None = None,
    num_kept: int = 0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention outputs [1, T, heads, dim] of a packed row; without segments as torch does.

    Args:
        module: the attention layer.
        query: [1, heads, T, dim].
        key: [1, key heads, K + T, dim], of `num_kept` tokens read before and of the row.
        value: [1, key heads, K + T, dim].
        attention_mask: of padded batches; a packed row has none.
        segments: cover the row from start to end, in order; places count from the first key.
        num_kept: K, tokens before the row, which only prefixes reach.
        **options: scaling and dropout.
    """
    if segments is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    masks: dict[tuple[int, int], torch.Tensor] = {}
    outs = []
    for start, end, prefix_start, prefix_end in segments:
        q = query[:, :, start - num_kept : end - num_kept]
        k, v = key[:, :, start:end], value[:, :, start:end]
        mask = None
        if prefix_end > prefix_start:
            k = torch.cat([key[:, :, prefix_start:prefix_end], k], dim=2)
            v = torch.cat([value[:, :, prefix_start:prefix_end], v], dim=2)
            shape = (end - start, prefix_end - prefix_start)
            if shape not in masks:
                masks[shape] = _continuation_mask(*shape, device=query.device)
            mask = masks[shape]
        outs.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return torch.cat(outs, dim=1), None


def _continuation_mask(length: int, prefix: int, *, device: torch.device) -> torch.Tensor:
    """Return [1, 1, length, prefix + length]: all of the prefix, and the past of the segment."""
    own = torch.ones(length, prefix + length, dtype=torch.bool, device=device)
    return own.tril(diagonal=prefix)[None, None]


def unwrap_adapters(model: Any) -> Any:
    """Return the Qwen-VL model inside a PeftModel, or the model itself."""
    # PEFT leaves its `peft_config` on the model inside, so that this name tells nothing.
    inside = getattr(model, "get_base_model", None)
    return model if inside is None else inside()


def use_segments(model: Any) -> None:
    """Let the language model of a Qwen-VL model attend in segments where a row names them.

    A model that was loaded with flash attention keeps it: its kernels take the bounds of the
    segments themselves.
    """
    AttentionInterface.register(SEGMENTED, attend_in_segments)
    AttentionMaskInterface.register(SEGMENTED, sdpa_mask)
    config = model.model.language_model.config
    if not takes_flash_attention(model):
        config._attn_implementation = SEGMENTED


def takes_flash_attention(model: Any) -> bool:
    """Tell whether the language model computes attention with flash kernels."""
    return "flash" in str(model.model.language_model.config._attn_implementation)


def flash_bounds(segments: Sequence[Segment], *, device: torch.device) -> dict[str, Any]:
    """Return the segments as the arguments of flash attention for rows of several sequences.

    Raises:
        ValueError: a segment continues another one, which flash kernels cannot do.
    """
    if any(segment.prefix_end > segment.prefix_start for segment in segments):
        raise ValueError("flash attention cannot share prompts: pack with share_prompts=False")
    ends = [0, *(segment.end for segment in segments)]
    bounds = torch.tensor(ends, dtype=torch.int32, device=device)
    longest = max(segment.end - segment.start for segment in segments)
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def rope_positions(
    ids: Sequence[int], grids: Sequence[Sequence[int]], *, pad_id: int, merge: int
) -> torch.Tensor:
    """Return [3, T] M-RoPE positions of a context, the same as the models' `get_rope_index`.

    Args:
        ids: the context, placeholders expanded.
        grids: (t, h, w) of its pictures in order, in patches, unmerged.
        pad_id: the placeholder.
        merge: patches per side of a vision token.

    Raises:
        ValueError: there are more or fewer placeholder runs than grids, or one of wrong length.
    """
    is_pad = torch.tensor(ids) == pad_id
    bounds = [0, *((is_pad[1:] != is_pad[:-1]).nonzero()[:, 0] + 1).tolist(), len(ids)]
    parts = []
    following = 0
    rest = iter(grids)
    for start, end in pairwise(bounds):
        if not is_pad[start]:
            text = torch.arange(following, following + end - start)
            parts.append(text.expand(3, -1))
            following += end - start
            continue
        time, height, width = next(rest, (0, 0, 0))
        height, width = height // merge, width // merge
        if time * height * width != end - start:
            raise ValueError(f"{end - start} placeholders for a grid of {time}x{height}x{width}")
        axes = torch.arange(time), torch.arange(height), torch.arange(width)
        cells = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        parts.append(cells.reshape(3, -1) + following)
        following += max(height, width)
    if next(rest, None) is not None:
        raise ValueError("there are more pictures than placeholder runs")
    return torch.cat(parts, dim=1)
