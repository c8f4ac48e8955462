"""LoRA: train low-rank updates of the language model, and merge them in the end.

Source: arXiv 2106.09685. The vision tower stays as it is. Layers are put into the given model
itself, so that sampler, packer and head, which hold the model, see them too; in the end it is the
plain model again, with changed weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentic_vlm.errors import ArtifactMissing

_TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


@contextmanager
def lora_layers(model: Any, *, rank: int | None) -> Iterator[Any]:
    """Yield the model to train: a PeftModel around the given one, or that one itself.

    The given model holds the merged weights afterwards, also where the body fails.

    Args:
        model: a Qwen-VL model.
        rank: of the updates; absent trains the weights themselves.

    Raises:
        ArtifactMissing: PEFT is not installed.
    """
    if rank is None:
        yield model
        return
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as fault:
        fix = "pip install -c constraints.txt 'agentic-vlm[lora]', or set lora_rank to null"
        raise ArtifactMissing("train: lora_rank", "PEFT is not installed", fix) from fault
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=_TARGETS, lora_dropout=0.0)
    wrapped = get_peft_model(model, config)
    try:
        yield wrapped
    finally:
        wrapped.merge_and_unload()
