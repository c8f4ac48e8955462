"""PolicyHead: log-probabilities of the scored tokens of packed rows, for SFT and RL alike.

TRL's trainers call `model(..., fused_lm_head=True)` and take per-token figures from it. This head
answers those calls for packed rows: one forward pass without padding, then the vocabulary only
where a token is scored. It is a method of the model itself, so that DDP, FSDP and PEFT wrap it.
"""

import functools
import types
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPooling
from trl.trainer.utils import FusedCausalLMOutput

from agentic_vlm.backends.segments import (
    Segment,
    flash_bounds,
    takes_flash_attention,
    unwrap_adapters,
    use_segments,
)
from agentic_vlm.training.row_seal import check_row

_ROWS_PER_CHUNK = 4096
"""Scored tokens whose logits are held at a time where there are more; the rest is recomputed."""


def add_policy_head(model: Any, *, temperature: float = 1.0) -> None:
    """Let the model score packed rows; calls without `fused_lm_head` stay as they were.

    Call it after a TRL trainer was built, whose own head it replaces, so that a padded batch that
    reaches TRL's call by mistake fails instead of being trained on.

    Args:
        model: a Qwen-VL model or a PeftModel around one.
        temperature: the logits are divided by it, as in sampling.
    """
    base = unwrap_adapters(model)
    use_segments(base)
    original = base.forward

    @functools.wraps(type(base).forward)
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return original(*args, **inputs)
        if "segments" not in inputs:
            raise TypeError("only packed rows are scored: build the batch with Packer")
        check_row(inputs)
        return _score_row(self, temperature=temperature, **inputs)

    base.forward = types.MethodType(forward, base)


def _score_row(
    model: Any,
    *,
    temperature: float,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    segments: torch.Tensor,
    sources: torch.Tensor,
    labels: torch.Tensor,
    pixel_values: torch.Tensor | None = None,
    image_grid_thw: torch.Tensor | None = None,
    picture_index: torch.Tensor | None = None,
    mm_encoder_outputs: dict[str, Any] | None = None,
    **_unused: Any,
) -> FusedCausalLMOutput:
    """Return figures of shape [1, N] for the N scored tokens of a packed row."""
    unseen = None
    if pixel_values is not None:
        encoded = _encode(model, pixel_values, image_grid_thw)
        if picture_index is not None and not len(picture_index):
            unseen = _sum_of(encoded)
        else:
            mm_encoder_outputs = {"image": encoded}
    if mm_encoder_outputs is not None and picture_index is not None:
        mm_encoder_outputs = {"image": _placed(mm_encoder_outputs["image"], picture_index)}
    bounds = [Segment(*row) for row in segments.tolist()]
    attention: dict[str, Any] = {"segments": bounds}
    if takes_flash_attention(model):
        attention = flash_bounds(bounds, device=input_ids.device)
    out = model.model(
        input_ids=input_ids,
        position_ids=position_ids,
        mm_encoder_outputs=mm_encoder_outputs,
        use_cache=False,
        **attention,
    )
    hidden = out.last_hidden_state[0, sources[0]]
    if unseen is not None:
        # The tower takes part in the backward pass of every process, with gradient zero here:
        # DDP and FSDP wait for it.
        hidden = hidden + 0.0 * unseen.to(hidden.dtype)
    figures = _score(model.get_output_embeddings(), hidden, labels[0], temperature)
    logprobs, entropy, is_top1 = (figure[None] for figure in figures)
    return FusedCausalLMOutput(
        loss=-logprobs.sum() / max(logprobs.numel(), 1),
        log_probs=logprobs,
        entropy=entropy,
        is_top1=is_top1,
        label_mask=torch.ones_like(labels, dtype=torch.bool),
    )


def _encode(model: Any, pixel_values: torch.Tensor, grids: torch.Tensor | None) -> Any:
    """Encode distinct pictures once."""
    return model.model.get_image_features(pixel_values, grids, return_dict=True)


def _sum_of(encoded: Any) -> torch.Tensor:
    """Return the sum of all features, of every depth."""
    deep = getattr(encoded, "deepstack_features", None) or []
    features = [*encoded.pooler_output, *(one for level in deep for one in level)]
    return torch.stack([one.sum() for one in features]).sum()


def _placed(encoded: Any, picture_index: torch.Tensor) -> BaseModelOutputWithPooling:
    """Hand each placement the features of its picture."""
    order = picture_index.tolist()
    pooled: Any = tuple(encoded.pooler_output[number] for number in order)
    placed = BaseModelOutputWithPooling(pooler_output=pooled)
    deep = getattr(encoded, "deepstack_features", None)
    if deep is not None:
        placed["deepstack_features"] = [tuple(level[number] for number in order) for level in deep]
    return placed


def _score(
    lm_head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log-probability, entropy and whether the target is the likeliest, each [N]."""
    if hidden.shape[0] <= _ROWS_PER_CHUNK:
        return _score_chunk(lm_head, hidden, targets, temperature)
    chunks = [
        checkpoint(_score_chunk, lm_head, some, wanted, temperature, use_reentrant=False)
        for some, wanted in zip(
            hidden.split(_ROWS_PER_CHUNK), targets.split(_ROWS_PER_CHUNK), strict=True
        )
    ]
    logprobs, entropies, tops = zip(*chunks, strict=True)
    return torch.cat(logprobs), torch.cat(entropies), torch.cat(tops)


def _score_chunk(
    lm_head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = lm_head(hidden).float()
    if temperature != 1.0:
        logits = logits / temperature
    scores = logits.log_softmax(dim=-1)
    chosen = scores.gather(1, targets[:, None])[:, 0]
    with torch.no_grad():
        entropy = -(scores.exp() * scores).sum(dim=-1)
        is_top1 = scores.argmax(dim=-1) == targets
    return chosen, entropy, is_top1
