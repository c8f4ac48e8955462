"""Checks of the buffer between sampling and update: every rollout once, trained where it wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agentic_vlm.agent.context import TokenContext, check_exact
from agentic_vlm.backends.seal import Seal
from agentic_vlm.errors import ExactnessError
from agentic_vlm.training.rollouts import RewardedEpisode


def check_split(passes: Sequence[Mapping[str, Any]], *, num_rollouts: int) -> None:
    """Check that the passes of a step hold every rollout once.

    Raises:
        ExactnessError: a rollout was lost or doubled.
    """
    found = [number for one in passes for number in one["rollout"].tolist()]
    if sorted(found) != list(range(num_rollouts)):
        lost = sorted(set(range(num_rollouts)) - set(found))
        raise ExactnessError(
            "split",
            f"{len(found)} rollouts for {num_rollouts}; lost: {lost}",
            "this is a fault of ours: every rollout belongs to one pass",
        )


def check_buffer(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    contexts: Sequence[TokenContext],
    seals: Sequence[Seal],
) -> None:
    """Check that a pass holds the tokens and pictures that were sampled with.

    Args:
        input_ids: [rollouts, P + T] padded on both sides.
        attention_mask: [rollouts, P + T] where they are not padding.
        contexts: what will be trained on.
        seals: taken when the rollouts came.

    Raises:
        ExactnessError: names episode, turn and picture.
    """
    rows = zip(input_ids, attention_mask, contexts, seals, strict=True)
    for ids, mask, context, seal in rows:
        found = ids[mask.bool()].tolist()
        # A rollout without a token of its own carries one of padding.
        seal.check_ids(found if context.completion_ids else found[:-1], hop="buffer")
        seal.check_ids(context.ids, hop="buffer")
        seal.check_pictures([placed.digest for placed in context.placed], hop="buffer")


def check_masks(inputs: Mapping[str, Any], contexts: Sequence[TokenContext]) -> None:
    """Check that TRL trains on the tokens that the policy wrote, and on no other.

    Raises:
        ExactnessError: the masks of a rollout are not its loss mask.
    """
    masks = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
    for mask, context in zip(masks, contexts, strict=True):
        trained = mask.nonzero()[:, 0].tolist()
        if trained != [place for place, on in enumerate(context.loss_mask) if on]:
            raise ExactnessError(
                f"episode {context.episode_id}",
                f"{len(trained)} tokens would be trained where the policy wrote "
                f"{sum(context.loss_mask)}, or other ones",
                "this is a fault of ours: masks come from who wrote a token",
            )


def rollout_context(rollout: RewardedEpisode) -> TokenContext:
    """Return the checked tokens of a rollout."""
    context = rollout.episode.context
    if context is None:
        raise ValueError(f"sample {rollout.sample.sample_id}: an episode without tokens")
    check_exact(context)
    return context
