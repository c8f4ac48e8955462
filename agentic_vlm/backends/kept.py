"""Keys and values of an episode, kept from turn to turn: only what is new is read.

They are those of the same tokens, pictures and weights: a context that does not begin with the kept
tokens, or shows other pictures in them, is read from its beginning.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class KeptTurns:
    """What was read and written of a context by the end of a turn."""

    ids: tuple[int, ...]
    """Its tokens but the last one, which the model has not read yet."""
    pictures: tuple[str, ...]
    """Digests of the pictures in them."""
    keys: list[torch.Tensor]
    """[key heads, T, dim] by layer."""
    values: list[torch.Tensor]

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.ids)

    @property
    def num_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(one.nbytes for one in (*self.keys, *self.values))


class TurnMemory:
    """What is kept of running episodes, up to a number of bytes; the longest unused goes first."""

    def __init__(self, *, max_bytes: int) -> None:
        """Keep nothing yet."""
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, KeptTurns] = OrderedDict()
        self._num_bytes = 0
        self.num_reused = 0
        """Tokens that were not read again, for figures."""

    def find(
        self, episode_id: str, ids: Sequence[int], pictures: Sequence[str]
    ) -> KeptTurns | None:
        """Return what the context of an episode continues, if it does."""
        kept = self._kept.get(episode_id)
        if kept is None or len(ids) <= kept.num_tokens:
            return None
        if tuple(ids[: kept.num_tokens]) != kept.ids:
            return None
        if tuple(pictures[: len(kept.pictures)]) != kept.pictures:
            return None
        self._kept.move_to_end(episode_id)
        self.num_reused += kept.num_tokens
        return kept

    def keep(self, episode_id: str, turns: KeptTurns) -> None:
        """Keep the newest turn of an episode instead of its older ones."""
        self.drop(episode_id)
        self._kept[episode_id] = turns
        self._num_bytes += turns.num_bytes
        while self._num_bytes > self._max_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, episode_id: str) -> None:
        """Forget an episode that has ended."""
        old = self._kept.pop(episode_id, None)
        if old is not None:
            self._num_bytes -= old.num_bytes

    def clear(self) -> None:
        """Forget all; called whenever the weights change."""
        self._kept.clear()
        self._num_bytes = 0
