"""How far the engine that sampled and the model that is trained differ, and what corrects for it.

Another engine computes other log-probabilities of the same tokens with the same weights: kernels,
precision, pixel limits. The update weighs each token by the ratio of the two, cut at a cap.
Source: truncated importance sampling, Yao et al. 2025, "Your efficient RL framework secretly brings
you off-policy RL training"; vLLM and transformers differ on pictures (vLLM issue 12699).
"""

from collections.abc import Sequence
from typing import Any

import torch

from agentic_vlm.agent.context import TokenContext

_ACTIONS = ("<code>", "<tool_call>", "<answer>")
_THOUGHT_ENDS = "</think>"


def sampled_logprobs(contexts: Sequence[TokenContext], *, length: int) -> torch.Tensor:
    """Return [contexts, length] log-probabilities of the sampler; NaN where the policy wrote none.

    Args:
        contexts: whose completions they are.
        length: columns; at least the longest completion.
    """
    found = torch.full((len(contexts), length), float("nan"))
    for row, context in enumerate(contexts):
        mask = torch.tensor(context.loss_mask, dtype=torch.bool)
        found[row, : len(mask)][mask] = torch.tensor(context.logprobs)[mask]
    return found


def importance_weights(trainer: torch.Tensor, sampler: torch.Tensor, *, cap: float) -> torch.Tensor:
    """Return p_trainer / p_sampler of each token, at most `cap`; 1 where either is unknown."""
    ratio = (trainer - sampler).exp().clamp(max=cap)
    return torch.where(ratio.isnan(), torch.ones_like(ratio), ratio)


def first_action_token(ids: Sequence[int], tokenizer: Any) -> int | None:
    """Return the place of the token with which the action of a turn begins; absent without one.

    It is where the policy decides for code, a search or an answer; a turn is mostly thought, whose
    mean says little about this token.
    """
    text = tokenizer.decode(ids)
    after = text.find(_THOUGHT_ENDS) + 1
    starts = [text.find(tag, after) for tag in _ACTIONS if text.find(tag, after) >= 0]
    if not starts:
        return None
    low, high = 0, len(ids) - 1
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer.decode(ids[: middle + 1])) > min(starts):
            high = middle
        else:
            low = middle + 1
    return low


def mismatch_sums(
    trainer: torch.Tensor,
    sampler: torch.Tensor,
    contexts: Sequence[TokenContext],
    *,
    tokenizer: Any,
    cap: float,
    max_turns: int,
) -> torch.Tensor:
    """Return [3 + max_turns, 2] sums and numbers, which may be added over processes.

    Rows: all tokens; first tokens of actions; tokens whose weight is cut; tokens of each turn,
    those of later turns in the last row. The third counts, the others sum |trainer - sampler|.
    """
    gaps = (trainer - sampler).abs()
    sums = torch.zeros(3 + max_turns, 2)
    known = ~gaps.isnan()
    sums[0] = _sum_of(gaps[known])
    is_cut = (trainer - sampler)[known].exp() > cap
    sums[2] = torch.tensor([float(is_cut.sum()), float(known.sum())])
    for row, context in enumerate(contexts):
        for turn, (start, end) in enumerate(context.turn_spans):
            span = gaps[row, start:end]
            sums[3 + min(turn, max_turns - 1)] += _sum_of(span[~span.isnan()])
            place = first_action_token(context.completion_ids[start:end], tokenizer)
            if place is not None and not span[place].isnan():
                sums[1] += _sum_of(span[place : place + 1])
    return sums


def mismatch_figures(sums: torch.Tensor) -> dict[str, float]:
    """Return means by name, nats per token; figures without a token are left out.

    >>> mismatch_figures(torch.tensor([[0.5, 4.0], [0.5, 2.0], [0.0, 4.0], [0.5, 4.0]]))
    {'mismatch': 0.125, 'mismatch_action': 0.25, 'mismatch_cut': 0.0, 'mismatch_turn_1': 0.125}
    """
    names = mismatch_names(len(sums) - 3)
    return {
        name: round(total / number, 9)
        for name, (total, number) in zip(names, sums.double().tolist(), strict=True)
        if number
    }


def mismatch_names(max_turns: int) -> list[str]:
    """Return the names of the figures, in the order of `mismatch_sums`."""
    turns = [f"mismatch_turn_{number + 1}" for number in range(max_turns)]
    return ["mismatch", "mismatch_action", "mismatch_cut", *turns]


def _sum_of(values: torch.Tensor) -> torch.Tensor:
    return torch.tensor([float(values.sum()), float(values.numel())])
