"""Tokens of a turn: which may not be sampled, which end it, and what it says."""

from collections.abc import Sequence
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
