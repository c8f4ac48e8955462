"""Keys and values of episodes and prompts, kept from batch to batch: only what is new is read.

They are those of the same tokens, pictures and weights: a context that does not begin with the kept
tokens, or shows other pictures in them, is read from its beginning.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class KeptContext:
    """What was read and written of a context by the end of a turn, or of its prompt."""

    ids: tuple[int, ...]
    """Its tokens but the last one, which is read with what follows."""
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


class ContextMemory:
    """What is kept of running episodes, or of prompts; the longest unused goes first."""

    def __init__(self, *, max_bytes: int, max_contexts: int | None = None) -> None:
        """Keep nothing yet."""
        self._max_bytes = max_bytes
        self._max_contexts = max_contexts
        self._kept: OrderedDict[Hashable, KeptContext] = OrderedDict()
        self._num_bytes = 0
        self.num_reused = 0
        """Tokens that were not read again, for figures."""

    def __contains__(self, name: Hashable) -> bool:
        return name in self._kept

    def find(
        self, name: Hashable, ids: Sequence[int], pictures: Sequence[str]
    ) -> KeptContext | None:
        """Return what a context continues, if it does."""
        kept = self._kept.get(name)
        if kept is None or len(ids) <= kept.num_tokens:
            return None
        if tuple(ids[: kept.num_tokens]) != kept.ids:
            return None
        if tuple(pictures[: len(kept.pictures)]) != kept.pictures:
            return None
        self._kept.move_to_end(name)
        self.num_reused += kept.num_tokens
        return kept

    def keep(self, name: Hashable, context: KeptContext) -> None:
        """Keep a context, such as the newest turn of an episode, instead of what has its name."""
        self.drop(name)
        self._kept[name] = context
        self._num_bytes += context.num_bytes
        most = len(self._kept) if self._max_contexts is None else self._max_contexts
        while self._num_bytes > self._max_bytes or len(self._kept) > most:
            self.drop(next(iter(self._kept)))

    def drop(self, name: Hashable) -> None:
        """Forget a context, such as that of an episode which has ended."""
        old = self._kept.pop(name, None)
        if old is not None:
            self._num_bytes -= old.num_bytes

    def clear(self) -> None:
        """Forget all; called whenever the weights change."""
        self._kept.clear()
        self._num_bytes = 0
