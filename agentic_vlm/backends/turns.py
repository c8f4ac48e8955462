"""Tokens of a turn: which may not be sampled, which end it, and what it says."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from agentic_vlm.backends.base import Completion, FinishReason

_CONTROLS = (
    "<|im_start|>",
    "<|endoftext|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Rounding of a probability of 1.
_ROUNDING = 1e-3


class TurnTokens:
    """What a policy that works on token ids needs of the tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Look the special tokens up."""
        self._tokenizer = tokenizer
        self.end_of_turn: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.banned_ids: list[int] = [tokenizer.convert_tokens_to_ids(one) for one in _CONTROLS]

    def split_stops(self, stop: Sequence[str]) -> tuple[frozenset[int], tuple[str, ...]]:
        """Return the ids that end a turn, its regular end among them, and the longer strings."""
        single = {self.end_of_turn}
        texts = []
        for text in stop:
            ids = self._tokenizer.encode(text, add_special_tokens=False)
            if len(ids) == 1:
                single.add(ids[0])
            else:
                texts.append(text)
        return frozenset(single), tuple(texts)

    def completion(
        self, ids: Sequence[int], logprobs: Sequence[float], reason: FinishReason
    ) -> Completion:
        """Return sampled ids as a completion; the end of the turn is no part of its text."""
        is_ended = bool(ids) and ids[-1] == self.end_of_turn
        kept = ids[:-1] if is_ended else ids
        return Completion(
            text=self._tokenizer.decode(kept, clean_up_tokenization_spaces=False),
            finish_reason=reason,
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
        )

    def fault(
        self, ids: Sequence[int], logprobs: Sequence[float], *, max_tokens: int
    ) -> str | None:
        """Return why what an engine sampled cannot be used; absent where nothing is wrong."""
        if not 0 < len(ids) <= max_tokens:
            return f"{len(ids)} tokens, {max_tokens} were asked for"
        if len(logprobs) != len(ids):
            return f"{len(ids)} tokens with {len(logprobs)} log-probabilities"
        if not all(math.isfinite(value) and value <= _ROUNDING for value in logprobs):
            return "a log-probability is no number up to 0"
        banned = sorted(set(ids) & set(self.banned_ids))
        return f"it sampled banned ids {banned}" if banned else None


def pad_runs(ids: Sequence[int], pad_id: int) -> list[tuple[int, int]]:
    """Return offset and length of each run of placeholders.

    >>> pad_runs([1, 9, 9, 2, 9], 9)
    [(1, 2), (4, 1)]
    """
    runs, at = [], 0
    for is_pad, group in groupby(ids, key=lambda token: token == pad_id):
        length = sum(1 for _ in group)
        if is_pad:
            runs.append((at, length))
        at += length
    return runs
