"""Validation during training: what is held out, and callbacks that measure on it.

Figures go to the trainer's log, which its checkpoints keep: a run that was killed and went on has
them all. Nothing here draws random numbers of the training, so that measuring changes no weight.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.resume import text_digest

Measure = Callable[[int], Mapping[str, float]]
"""Returns figures by name after so many steps."""


def hold_out(names: Collection[str], *, share: float, seed: int) -> set[str]:
    """Return the names that are held out: the share, rounded, at least one where it is not 0.

    The choice hangs on the names and the seed, not on their order.

    >>> hold_out(["a", "b", "c"], share=0.0, seed=0)
    set()
    >>> len(hold_out(["a", "b", "c", "b"], share=0.3, seed=0))
    1
    """
    if share == 0.0:
        return set()
    order = sorted(set(names), key=lambda name: text_digest([str(seed), name]))
    return set(order[: max(round(share * len(order)), 1)])


class HeldOutFigures(TrainerCallback):
    """Measures every so many steps and after the last one."""

    def __init__(self, measure: Measure, *, every: int, unit: int = 1) -> None:
        """Measure after each `every` steps, of which each has `unit` optimiser updates."""
        self._measure, self._every, self._unit = measure, every, unit

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the figures to the log, under the number of updates, as the trainer's own."""
        step, rest = divmod(state.global_step, self._unit)
        if rest == 0 and (step % self._every == 0 or state.global_step >= state.max_steps):
            state.log_history.append({"step": state.global_step, **self._measure(step)})


class HeldOutLoss:
    """Mean loss per token of trajectories that are not trained on."""

    def __init__(
        self, model: Any, contexts: Sequence[TokenContext], packer: Packer, *, row_tokens: int
    ) -> None:
        """Keep the parts; `row_tokens` bounds a forward pass."""
        self._model, self._contexts, self._packer = model, contexts, packer
        self._row_tokens = row_tokens

    @torch.no_grad()
    def __call__(self, step: int) -> dict[str, float]:
        """Return `held_out_loss`."""
        device = next(self._model.parameters()).device
        was_training = self._model.training
        self._model.eval()
        total, number = 0.0, 0
        for contexts in self._rows():
            inputs = {
                name: value.to(device) if isinstance(value, torch.Tensor) else value
                for name, value in self._packer.pack(contexts).inputs.items()
            }
            scores = self._model(**inputs, fused_lm_head=True).log_probs
            total -= float(scores.float().sum())
            number += scores.numel()
        self._model.train(was_training)
        return {"held_out_loss": total / max(number, 1)}

    def _rows(self) -> list[list[TokenContext]]:
        rows: list[list[TokenContext]] = []
        room = 0
        for context in self._contexts:
            if context.num_tokens > room:
                rows.append([])
                room = self._row_tokens
            rows[-1].append(context)
            room -= context.num_tokens
        return rows
