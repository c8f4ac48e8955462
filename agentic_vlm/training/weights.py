"""Weights of the policy in training, written for the servers that sample from them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from agentic_vlm.backends.segments import unwrap_adapters


class WeightPush:
    """Puts the weights of a model into the servers of all processes; called before each step.

    The first process writes a checkpoint folder, then every process has its server read it. The
    folder stays until the next one is read: a server that is started again gets it once more.
    """

    def __init__(self, model: Any, folder: Path, load: Callable[[Path], None]) -> None:
        """Keep the parts.

        Args:
            model: the policy in training; adapters and shards are merged on the way.
            folder: which the servers see at the same absolute path.
            load: lets the server of this process read a folder.
        """
        self._model, self._load = model, load
        self._folder = folder.absolute()
        self._number = 0

    def __call__(self) -> None:
        """Write the weights as they are now and have them read.

        Raises:
            BackendUnavailable: a server stays away or cannot read them.
        """
        ranks = PartialState()
        # Gathering shards takes every process.
        state = whole_state(self._model)
        self._number += 1
        current = self._folder / f"{self._number:06d}"
        if ranks.is_main_process:
            draft = self._folder / "draft"
            shutil.rmtree(current, ignore_errors=True)
            shutil.rmtree(draft, ignore_errors=True)
            unwrap_adapters(self._model).save_pretrained(draft, state_dict=state)
            draft.rename(current)
        ranks.wait_for_everyone()
        self._load(current)
        ranks.wait_for_everyone()
        if ranks.is_main_process:
            for old in self._folder.iterdir():
                if old != current:
                    shutil.rmtree(old)


def whole_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights that the model computes with, by the names of the plain model.

    Args:
        model: a Qwen-VL model, also with LoRA layers inside, also sharded by FSDP2: then every
            process must call.
    """
    return dict(iter_weights(model))


def iter_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what `whole_state` returns one after the other, so that one is gathered at a time."""
    inner = unwrap_adapters(model)
    adapted: dict[str, Any] = {
        name: module
        for name, module in inner.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    for name, value in inner.state_dict().items():
        if ".lora_" in name:
            continue
        owner = adapted.get(name.removesuffix(".base_layer.weight"))
        # Not for the whole loop: whoever takes the weights runs between two of them.
        with torch.no_grad():
            weight = _whole(value)
            if owner is not None:
                for adapter in owner.active_adapters:
                    delta = owner.get_delta_weight(adapter)
                    weight = weight + delta.to(weight.device, weight.dtype)
        yield name.replace(".base_layer.", "."), weight


def _whole(value: torch.Tensor) -> torch.Tensor:
    full = getattr(value, "full_tensor", None)
    return value if full is None else full()
