"""Tokens of a turn: which may not be sampled, which end it, and what it says."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypedDict

from agentic_vlm.backends.base import Completion, FinishReason, SamplingParams

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
BAN_BIAS = -100.0
"""Added to the logit of an id that is banned: the smallest bias that vLLM takes."""


class EngineSampling(TypedDict):
    """How to sample; each field is one of vLLM's `SamplingParams`."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    max_tokens: int
    seed: int
    logprobs: int
    stop: list[str]
    stop_token_ids: list[int]
    include_stop_str_in_output: bool
    skip_special_tokens: bool
    logit_bias: dict[int, float]


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

    def engine_sampling(self, params: SamplingParams) -> EngineSampling:
        """Return how vLLM is to sample a turn, by HTTP or in process."""
        stop_ids, stop_texts = self.split_stops(params.stop)
        return {
            "temperature": params.temperature,
            # Said outright, so that no default of the model's folder bends the distribution.
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": params.max_tokens,
            "seed": params.seed,
            "logprobs": 0,
            "stop": list(stop_texts),
            "stop_token_ids": sorted(stop_ids),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "logit_bias": dict.fromkeys(self.banned_ids, BAN_BIAS),
        }

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
