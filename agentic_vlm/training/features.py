"""Vision features that sampler and trainer share, where nothing can tell them apart."""

from typing import Any

import torch

from agentic_vlm.backends.base import Policy
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.segments import unwrap_adapters
from agentic_vlm.training.ranks import is_sharded

_MAX_PICTURES = 20_000


def shared_encoder(
    model: Any, reference: Any | None, processor: Any, policy: Policy
) -> PictureEncoder | None:
    """Return the encoder whose features every forward pass of a training may take.

    It is that of the sampler where this process samples, so that a picture is encoded once from
    its first turn to its last update. Whether the tower is trained, the packer asks before each
    row: then pixels go to the model, as without an encoder.

    Args:
        model: the policy in training, adapters included.
        reference: the fixed policy of the KL term, if there is one.
        processor: of both.
        policy: samples the rollouts.

    Returns:
        None where the weights are sharded, for features are made outside of the forward passes
        that gather them, and where the reference sees with another tower.
    """
    if is_sharded():
        return None
    own = unwrap_adapters(model)
    if reference is not None and not _are_equal(
        own.model.visual, unwrap_adapters(reference).model.visual
    ):
        return None
    if isinstance(policy, InProcessPolicy):
        return policy.sampler.encoder
    return PictureEncoder(own, processor.image_processor, max_pictures=_MAX_PICTURES)


def _are_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Tell whether two modules compute the same: equal tensors by name."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        value.dtype == second[name].dtype and torch.equal(value, second[name].to(value.device))
        for name, value in first.items()
    )
