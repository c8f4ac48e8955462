"""Random numbers of a row, and the tokens that they choose."""

from collections.abc import Sequence

import torch


def uniform_draws(seed: int, num_drawn: int, *, length: int) -> torch.Tensor:
    """Return [length] numbers, of which the first `num_drawn` are uniform and the others 0.

    The first ones do not depend on how many are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.zeros(length, dtype=torch.float64)
    draws[:num_drawn] = torch.rand(num_drawn, generator=generator, dtype=torch.float64)
    return draws


def choose_tokens(
    logits: torch.Tensor,
    temperatures: Sequence[float],
    draws: torch.Tensor,
    *,
    banned: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a token per row and its log-probability under the whole vocabulary.

    The distribution function is inverted: one random number per token, whatever the size of the
    vocabulary, so that a row's numbers are drawn at once.

    Args:
        logits: [rows, vocabulary].
        temperatures: of each row; 0 is greedy.
        draws: [rows] uniform numbers.
        banned: ids that are never chosen.
    """
    scales = torch.tensor([one or 1.0 for one in temperatures], device=logits.device)
    logits = logits.float() / scales[:, None]
    logprobs = logits.log_softmax(dim=-1)
    scores = logits.index_fill(1, banned.to(logits.device), float("-inf"))
    tokens = scores.argmax(dim=-1)
    if any(temperatures):
        mass = scores.double().softmax(dim=-1).cumsum(dim=-1)
        # The product of the largest draw and the whole mass may round up to the whole mass.
        goal = (draws * mass[:, -1]).minimum(mass[:, -1] * (1 - 1e-12))
        sampled = torch.searchsorted(mass, goal[:, None], right=True)[:, 0]
        is_sampled = torch.tensor([one > 0 for one in temperatures], device=logits.device)
        tokens = torch.where(is_sampled, sampled, tokens)
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0]
