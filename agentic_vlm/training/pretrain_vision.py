"""First lessons of the pocket vision tower: what stands in each cell, through throw-away heads.

Learned through the language model alone, places and letters stayed at chance for 16,000 pictures;
one label per vision token teaches them in a few minutes (docs/decisions/0002-pocket-base.md).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from agentic_vlm.training.resume import save_state
from agentic_vlm.world.drawing import NUM_CELLS, derive_rng
from agentic_vlm.world.truth import (
    CHAR_CLASSES,
    COLOUR_CLASSES,
    NUM_CHARS,
    DenseLesson,
    make_crop_lesson,
    make_overview_lesson,
)

logger = logging.getLogger(__name__)

_IGNORED = -100
_NUM_SIDE_CLASSES = NUM_CELLS


@dataclass(frozen=True, slots=True)
class VisionPlan:
    """Schedule of one course of dense lessons: warm-up of 50 steps, then a linear fall."""

    name: str
    """Names its file of resumable state."""
    num_steps: int
    num_overviews: int
    num_crops: int
    learning_rate: float
    seed: int
    save_every: int


class DenseHeads(nn.Module):
    """Linear heads on the vision tokens that the language model sees."""

    def __init__(self, width: int) -> None:
        """Make one head per question."""
        super().__init__()
        self.colour = nn.Linear(width, len(COLOUR_CLASSES))
        self.row = nn.Linear(width, _NUM_SIDE_CLASSES)
        self.column = nn.Linear(width, _NUM_SIDE_CLASSES)
        self.chars = nn.Linear(width, NUM_CHARS * len(CHAR_CLASSES))

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return [N, classes] logits by question; `chars` is [N * 3, classes]."""
        return {
            "colour": self.colour(tokens),
            "row": self.row(tokens),
            "column": self.column(tokens),
            "chars": self.chars(tokens).view(-1, len(CHAR_CLASSES)),
        }


def dense_targets(lessons: Sequence[DenseLesson]) -> dict[str, torch.Tensor]:
    """Return class numbers per token, in the order of the tokens."""
    colour, row, column, chars = [], [], [], []
    for lesson in lessons:
        for at, truth in enumerate(lesson.tokens):
            colour.append(COLOUR_CLASSES.index(truth.colour) if lesson.is_overview else _IGNORED)
            row.append(at // NUM_CELLS if lesson.is_overview else _IGNORED)
            column.append(at % NUM_CELLS if lesson.is_overview else _IGNORED)
            # Blank cells are ignored: they would drown the few that hold text.
            text = truth.text or None
            padded = None if text is None else text.ljust(NUM_CHARS)[:NUM_CHARS]
            chars += [
                _IGNORED if padded is None else CHAR_CLASSES.index(padded[k])
                for k in range(NUM_CHARS)
            ]
    return {
        "colour": torch.tensor(colour),
        "row": torch.tensor(row),
        "column": torch.tensor(column),
        "chars": torch.tensor(chars),
    }


class DenseBatches(IterableDataset[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]):
    """Yields pixels, grids and targets of each step."""

    def __init__(self, plan: VisionPlan, image_processor: Any, *, first_step: int) -> None:
        """Remember what to draw from."""
        self.plan, self.image_processor, self.first_step = plan, image_processor, first_step

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]:
        """Yield the batches of the remaining steps."""
        torch.set_num_threads(1)
        for step in range(self.first_step, self.plan.num_steps):
            lessons = [
                make_overview_lesson(derive_rng(self.plan.seed, "dense", step, index))
                for index in range(self.plan.num_overviews)
            ] + [
                make_crop_lesson(derive_rng(self.plan.seed, "crop", step, index))
                for index in range(self.plan.num_crops)
            ]
            features = self.image_processor(
                images=[lesson.picture for lesson in lessons], return_tensors="pt"
            )
            yield features["pixel_values"], features["image_grid_thw"], dense_targets(lessons)


def build_heads(width: int, *, seed: int) -> DenseHeads:
    """Return untrained heads."""
    torch.manual_seed(seed)
    return DenseHeads(width)


def pretrain_vision(
    tower: Any, heads: DenseHeads, image_processor: Any, plan: VisionPlan, *, scratch: Path
) -> dict[str, float]:
    """Train tower and heads in place and return the last accuracies; resumes from `scratch`."""
    scratch.mkdir(parents=True, exist_ok=True)
    saved = scratch / f"{plan.name}.pt"
    parameters = [*tower.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    step, accuracies = 0, dict[str, float]()
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        tower.load_state_dict(state["tower"])
        heads.load_state_dict(state["heads"])
        optimiser.load_state_dict(state["optimiser"])
        step, accuracies = state["step"], state["accuracies"]
    loader = DataLoader(
        DenseBatches(plan, image_processor, first_step=step),
        batch_size=None,
        num_workers=1,
        prefetch_factor=4,
    )
    for pixels, grids, targets in loader:
        rate = plan.learning_rate * min(1.0, (step + 1) / 50, 1.05 - step / plan.num_steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        accuracies = _update(tower, heads, optimiser, pixels, grids, targets)
        step += 1
        if step % 10 == 0:
            shown = ", ".join(f"{name} {value:.2f}" for name, value in accuracies.items())
            logger.info("vision step %d of %d: %s", step, plan.num_steps, shown)
        if step % plan.save_every == 0 or step == plan.num_steps:
            state = {
                "tower": tower.state_dict(),
                "heads": heads.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "accuracies": accuracies,
            }
            save_state(state, saved)
    return accuracies


def _update(
    tower: Any,
    heads: DenseHeads,
    optimiser: torch.optim.Optimizer,
    pixels: torch.Tensor,
    grids: torch.Tensor,
    targets: dict[str, torch.Tensor],
) -> dict[str, float]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = tower(pixels, grid_thw=grids, return_dict=True).pooler_output
        logits = heads(tokens)
    losses = {
        name: functional.cross_entropy(logits[name].float(), target, ignore_index=_IGNORED)
        for name, target in targets.items()
    }
    sum(losses.values()).backward()  # type: ignore[union-attr]  # a sum of tensors is a tensor
    nn.utils.clip_grad_norm_([*tower.parameters(), *heads.parameters()], 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    found = {}
    for name, target in targets.items():
        # Most cells are empty; how well colours are told is seen on the others.
        kept = target > 0 if name == "colour" else target != _IGNORED
        found[name] = float((logits[name].argmax(-1)[kept] == target[kept]).float().mean())
    return found
