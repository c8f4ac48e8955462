"""Train the pocket base model from pixels: many short answers about generated pictures.

Batches depend on (seed, step) alone, so a killed run goes on from its last checkpoint with the same
data.
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import BatchFeature, Qwen3VLForConditionalGeneration

from agentic_vlm.agent.prompt import PromptChoice, build_prompt
from agentic_vlm.schema import ProbeMode
from agentic_vlm.training.pretrain_agent import make_form_lesson
from agentic_vlm.training.pretrain_calls import make_calls_lesson
from agentic_vlm.training.resume import save_state
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.entities import Entity
from agentic_vlm.world.exchange import Lesson
from agentic_vlm.world.lessons import few_plates_lesson, make_lesson, plates_lesson
from agentic_vlm.world.processor import ImageOnlyQwen3VLProcessor
from agentic_vlm.world.samples import FAMILIES

logger = logging.getLogger(__name__)

_IGNORE = -100
_MICRO_BATCH = 16
_LENGTH_STEP = 64


@dataclass(frozen=True, slots=True)
class PretrainPlan:
    """Schedule of one course of lessons: warm-up, plateau, linear decay."""

    name: str
    """Names its file of resumable state."""
    num_steps: int
    batch_size: int
    learning_rate: float
    decay_share: float
    seed: int
    save_every: int
    plates_share: float = 0.0
    """Share of lessons that are about the places of plates, whatever the step."""
    form_share: float = 0.5
    """Share of lessons in the forms of the loop during the decay."""
    form_families: tuple[str, ...] = FAMILIES
    """Families of these lessons; one that is named twice comes twice as often."""
    focus: tuple[Callable[[random.Random], Lesson], ...] = ()
    """Makers of lessons of which this course has more, each as often as the others."""
    focus_share: float = 0.0
    """Share of lessons from these makers."""
    call_share: float = 0.0
    """Share of lessons about the first calls of solutions, in the forms of the loop."""
    system_share: float = 0.0
    """Share of lessons behind the system message of the loop, of those that are neither about
    places nor in its forms."""
    num_few_steps: int = 0
    """First steps, in which half of the lessons about places show one plate or two."""

    @property
    def first_decay_step(self) -> int:
        """The step from which the learning rate falls."""
        return round(self.num_steps * (1 - self.decay_share))


def lesson_ids(
    lesson: Lesson, processor: ImageOnlyQwen3VLProcessor
) -> tuple[list[int], list[int], list[torch.Tensor], list[list[int]]]:
    """Return token ids, labels, pixel rows and grids of one lesson; only answers are labels."""
    tokenizer = processor.tokenizer
    ids: list[int] = []
    labels: list[int] = []
    pixels: list[torch.Tensor] = []
    grids: list[list[int]] = []
    for exchange in lesson:
        prompt = f"<|im_start|>system\n{exchange.system}<|im_end|>\n" if exchange.system else ""
        prompt += "<|im_start|>user\n"
        for picture in exchange.pictures:
            features = processor.image_processor(images=[picture], return_tensors="pt")
            grid = features["image_grid_thw"][0].tolist()
            pixels.append(features["pixel_values"])
            grids.append(grid)
            pads = "<|image_pad|>" * (grid[0] * grid[1] * grid[2] // 4)
            prompt += f"<|vision_start|>{pads}<|vision_end|>"
        prompt += f"{exchange.prompt}<|im_end|>\n<|im_start|>assistant\n{exchange.prefill}"
        prompt_ids = tokenizer(prompt, add_special_tokens=False).input_ids
        answer_ids = tokenizer(f"{exchange.answer}<|im_end|>", add_special_tokens=False).input_ids
        newline = tokenizer("\n", add_special_tokens=False).input_ids
        ids += prompt_ids + answer_ids + newline
        labels += [_IGNORE] * len(prompt_ids) + answer_ids + [_IGNORE] * len(newline)
    return ids, labels, pixels, grids


def collate(
    lessons: Sequence[Lesson], processor: ImageOnlyQwen3VLProcessor
) -> dict[str, torch.Tensor]:
    """Return one right-padded batch."""
    rows = [lesson_ids(lesson, processor) for lesson in lessons]
    # Few different shapes: each new one costs oneDNN a compilation.
    length = -(-max(len(ids) for ids, *_ in rows) // _LENGTH_STEP) * _LENGTH_STEP
    pad = processor.tokenizer.pad_token_id
    input_ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, *_ in rows])
    attention = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, *_ in rows])
    labels = torch.tensor([row[1] + [_IGNORE] * (length - len(row[1])) for row in rows])
    batch = {
        "input_ids": input_ids,
        "attention_mask": attention,
        "labels": labels,
        "mm_token_type_ids": (input_ids == processor.image_token_id).int(),
    }
    pixels = [tensor for _, _, tensors, _ in rows for tensor in tensors]
    if pixels:
        batch["pixel_values"] = torch.cat(pixels)
        batch["image_grid_thw"] = torch.tensor([grid for *_, grids in rows for grid in grids])
    return batch


class LessonBatches(IterableDataset[list[dict[str, torch.Tensor]]]):
    """Yields the micro-batches of each step, shorter lessons apart from longer ones."""

    def __init__(
        self,
        plan: PretrainPlan,
        processor: ImageOnlyQwen3VLProcessor,
        entities: Sequence[Entity],
        prompts: PromptChoice,
        *,
        first_step: int,
    ) -> None:
        """Remember what to draw from; `first_step` is where a resumed run goes on."""
        self.plan, self.processor, self.entities = plan, processor, entities
        self.prompts = prompts
        self.system = build_prompt("", num_images=0, mode=ProbeMode.AGENT, params=prompts).system
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[dict[str, torch.Tensor]]]:
        """Yield the batches of each remaining step."""
        torch.set_num_threads(1)
        for step in range(self.first_step, self.plan.num_steps):
            lessons = [
                self._lesson(step, derive_rng(self.plan.seed, "lesson", step, index))
                for index in range(self.plan.batch_size)
            ]
            lessons.sort(key=_size)
            parts = [lessons[at : at + _MICRO_BATCH] for at in range(0, len(lessons), _MICRO_BATCH)]
            yield [collate(part, self.processor) for part in parts]

    def _lesson(self, step: int, rng: random.Random) -> Lesson:
        if self.plan.plates_share and rng.random() < self.plan.plates_share:
            is_few = step < self.plan.num_few_steps and rng.random() < 0.5
            return few_plates_lesson(rng) if is_few else plates_lesson(rng)
        if self.plan.call_share and rng.random() < self.plan.call_share:
            return make_calls_lesson(rng, self.prompts)
        if self.plan.focus and rng.random() < self.plan.focus_share:
            return self._behind_system(rng.choice(self.plan.focus)(rng), rng)
        # The forms of the loop come last, while the learning rate falls: skills, then manners.
        if step >= self.plan.first_decay_step and rng.random() < self.plan.form_share:
            families = self.plan.form_families
            return make_form_lesson(rng, self.entities, self.prompts, families=families)
        return self._behind_system(make_lesson(rng, self.entities), rng)

    def _behind_system(self, lesson: Lesson, rng: random.Random) -> Lesson:
        """Put the system message in front of some; skills learned without it fail behind it.

        Their questions ask for the answer alone, as those of direct mode do. Else a question of the
        world would have two forms of answer behind one prompt, with and without a thought.
        """
        if rng.random() >= self.plan.system_share:
            return lesson
        first, *others = (
            replace(exchange, prompt=self._answer_only(exchange.prompt)) for exchange in lesson
        )
        return (replace(first, system=self.system), *others)

    def _answer_only(self, question: str) -> str:
        direct = ProbeMode.DIRECT
        return build_prompt(question, num_images=0, mode=direct, params=self.prompts).user


def _size(lesson: Lesson) -> tuple[int, int]:
    num_pictures = sum(len(exchange.pictures) for exchange in lesson)
    return num_pictures, sum(len(exchange.prompt) + len(exchange.answer) for exchange in lesson)


def learning_rate(step: int, plan: PretrainPlan) -> float:
    """Return the learning rate of a step: 50 steps of warm-up, a plateau, a linear fall to 3 %."""
    decay_from = plan.first_decay_step
    if step < 50:
        return plan.learning_rate * (step + 1) / 50
    if step < decay_from:
        return plan.learning_rate
    left = (plan.num_steps - step) / (plan.num_steps - decay_from)
    return plan.learning_rate * max(0.03, left)


def pretrain(
    model: Qwen3VLForConditionalGeneration,
    processor: ImageOnlyQwen3VLProcessor,
    entities: Sequence[Entity],
    prompts: PromptChoice,
    plan: PretrainPlan,
    *,
    scratch: Path,
) -> list[dict[str, float]]:
    """Train the language model in place and return the loss curve; resumes from `scratch`.

    The vision tower stays as its dense lessons left it. Trained on here, at this learning rate, it
    forgot where things are within a few hundred steps, and the language model named one place for
    all of them (docs/decisions/0002-pocket-base.md).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    saved = scratch / f"{plan.name}.pt"
    model.model.visual.requires_grad_(requires_grad=False)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    step, curve = 0, []
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, curve = state["step"], state["curve"]
    lessons = LessonBatches(plan, processor, entities, prompts, first_step=step)
    model.train()
    for batches in DataLoader(lessons, batch_size=None, num_workers=1, prefetch_factor=4):
        rate = learning_rate(step, plan)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = _update(model, optimiser, batches)
        step += 1
        curve.append({"step": step, "loss": loss, "learning_rate": rate})
        if step % 10 == 0:
            logger.info("pretrain step %d of %d, loss %.4f", step, plan.num_steps, loss)
        if step % plan.save_every == 0 or step == plan.num_steps:
            state = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "curve": curve,
            }
            save_state(state, saved)
    return curve


def _update(
    model: Qwen3VLForConditionalGeneration,
    optimiser: torch.optim.Optimizer,
    batches: list[dict[str, torch.Tensor]],
) -> float:
    """Take one step over all micro-batches, each token weighing the same; return the mean loss."""
    num_tokens = sum(int((batch["labels"][:, 1:] != _IGNORE).sum()) for batch in batches)
    total = 0.0
    for batch in batches:
        # Half the time of float32 on a processor with AVX512-BF16; weights stay float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(**BatchFeature(batch), num_items_in_batch=num_tokens)
        out.loss.backward()
        total += out.loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return total
