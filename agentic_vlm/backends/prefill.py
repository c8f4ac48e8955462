"""Prefill of many contexts without padding, and the room in which their keys and values grow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from agentic_vlm.backends.kept import KeptContext
from agentic_vlm.backends.segments import Segment, flash_bounds, takes_flash_attention

_GROWTH = 128
"""Tokens by which full room grows."""


class Context(Protocol):
    """What is prefilled."""

    @property
    def ids(self) -> list[int]:
        """Token ids, placeholders expanded."""
        ...


class KeyValueRoom:
    """Keys and values of a batch, with room for the tokens to come; stands for a Cache.

    A cache that is concatenated copies everything with every token; this one writes in place.
    """

    def __init__(self, keys: list[torch.Tensor], values: list[torch.Tensor], length: int) -> None:
        """Take one tensor [rows, key heads, room, dim] per layer, of which `length` is filled."""
        self._keys, self._values = keys, values
        self.length = length

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per row and return all keys and values so far."""
        end = self.length + key.shape[2]
        if end > self._keys[layer_idx].shape[2]:
            self._keys[layer_idx] = _grown(self._keys[layer_idx])
            self._values[layer_idx] = _grown(self._values[layer_idx])
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens are filled."""
        return self.length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return the place of the next token."""
        return self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return how many keys the next tokens see, and where the keys begin."""
        return self.length + query_length, 0

    def tokens_of(self, row: int, start: int, end: int) -> tuple[list[Any], list[Any]]:
        """Return copies of keys and values [key heads, end - start, dim] of a row, by layer."""
        keys = [held[row, :, start:end].clone() for held in self._keys]
        return keys, [held[row, :, start:end].clone() for held in self._values]

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop all other rows."""
        self._keys = [keys[rows] for keys in self._keys]
        self._values = [values[rows] for values in self._values]


def _grown(held: torch.Tensor) -> torch.Tensor:
    return torch.cat([held, held.new_zeros(*held.shape[:2], _GROWTH, held.shape[3])], dim=2)


class Prefilled(NamedTuple):
    """A batch after its contexts were read."""

    hidden: torch.Tensor
    """[rows, size] of the last token."""
    room: KeyValueRoom
    is_seen: torch.Tensor
    """[rows, length] False where a short context has padding on its left."""
    next_position: torch.Tensor
    """[rows] M-RoPE position of the next token."""


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of a packed row, and what they continue."""

    ids: Sequence[int]
    positions: torch.Tensor
    """[3, T] M-RoPE positions."""
    prefix: int | None
    """Number of the part that they continue; absent where they begin a context."""
    kept: KeptContext | None = None
    """What they continue that was read in an earlier batch; absent where all is in the row."""


class _Capture:
    """Stands for a Cache: keeps the keys and values of a packed row and gives them back.

    Those that were kept from earlier batches stand before them.
    """

    def __init__(self, kept: Sequence[KeptContext]) -> None:
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self._kept = kept

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._kept:
            key = torch.cat([*(one.keys[layer_idx][None] for one in self._kept), key], dim=2)
            value = torch.cat([*(one.values[layer_idx][None] for one in self._kept), value], dim=2)
        self.keys[layer_idx], self.values[layer_idx] = key[0], value[0]
        return key, value

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return query_length, 0


def prefill(
    model: Any,
    parts: Sequence[Part],
    rows: Sequence[int],
    *,
    encoded: Any | None,
    room: int,
) -> Prefilled:
    """Read packed parts and spread them over rows.

    Args:
        model: a Qwen-VL model that attends in segments.
        parts: each after the part that it continues.
        rows: the last part of each row.
        encoded: encoder outputs of all pictures in the order of the parts, if there are any.
        room: tokens to be generated, for which there is room at once.
    """
    device = next(model.parameters()).device
    kept = list({id(part.kept): part.kept for part in parts if part.kept is not None}.values())
    num_kept = sum(one.num_tokens for one in kept)
    segments = _segments(parts, num_kept)
    attention: dict[str, Any] = {"segments": segments}
    if kept:
        attention["num_kept"] = num_kept
    if takes_flash_attention(model):
        attention = flash_bounds(segments, device=device)
    capture = _Capture(kept)
    out = model.model(
        input_ids=torch.tensor([[token for part in parts for token in part.ids]], device=device),
        position_ids=torch.cat([part.positions for part in parts], dim=1)[:, None].to(device),
        past_key_values=capture,
        use_cache=True,
        mm_encoder_outputs=None if encoded is None else {"image": encoded},
        **attention,
    )
    places = [_places(segments[number]) for number in rows]
    length = max(len(place) for place in places)
    index = torch.tensor([[0] * (length - len(place)) + place for place in places], device=device)
    is_seen = torch.tensor(
        [[False] * (length - len(place)) + [True] * len(place) for place in places], device=device
    )
    layers = sorted(capture.keys)
    return Prefilled(
        hidden=out.last_hidden_state[0, index[:, -1] - num_kept],
        room=KeyValueRoom(
            [_spread(capture.keys[layer], index, room) for layer in layers],
            [_spread(capture.values[layer], index, room) for layer in layers],
            length,
        ),
        is_seen=is_seen,
        next_position=torch.tensor([int(parts[number].positions.max()) + 1 for number in rows]).to(
            device
        ),
    )


def _segments(parts: Sequence[Part], num_kept: int) -> list[Segment]:
    """Return where the parts lie behind `num_kept` tokens of earlier batches."""
    segments: list[Segment] = []
    start, kept_end = num_kept, 0
    kept_places: dict[int, tuple[int, int]] = {}
    for part in parts:
        prefix = (0, 0)
        if part.kept is not None:
            # Rows of one prompt continue the same tokens.
            following = (kept_end, kept_end + part.kept.num_tokens)
            prefix = kept_places.setdefault(id(part.kept), following)
            kept_end = max(kept_end, prefix[1])
        elif part.prefix is not None:
            prefix = segments[part.prefix][:2]
        segments.append(Segment(start, start + len(part.ids), *prefix))
        start += len(part.ids)
    return segments


def _places(segment: Segment) -> list[int]:
    """Return where the tokens of a whole row lie in the packed one."""
    prefix = range(segment.prefix_start, segment.prefix_end)
    return [*prefix, *range(segment.start, segment.end)]


def _spread(packed: torch.Tensor, index: torch.Tensor, room: int) -> torch.Tensor:
    """Return [rows, heads, length + room, dim] from [heads, T, dim] by places [rows, length]."""
    heads, _, size = packed.shape
    rows, length = index.shape
    spread = packed.new_zeros(rows, heads, length + room, size)
    found = packed.index_select(1, index.flatten()).view(heads, rows, length, size)
    spread[:, :, :length] = found.transpose(0, 1)
    return spread
