"""Cold start: supervised training on trajectories, on the tokens of the policy only."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from trl import SFTConfig, SFTTrainer

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.params import TrainSftParams
from agentic_vlm.training.collate import PackedCollator
from agentic_vlm.training.lora import lora_layers
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.ranks import count_ranks, is_sharded
from agentic_vlm.training.resume import claim_scratch, last_checkpoint, model_digest, text_digest
from agentic_vlm.training.schedule import Schedule, plan_schedule
from agentic_vlm.training.validation import HeldOutFigures, HeldOutLoss

logger = logging.getLogger(__name__)

OnStep = Callable[[int], None]
"""Takes the number of finished steps."""


class StepReporter(TrainerCallback):
    """Reports each finished step, for a progress display."""

    def __init__(self, on_step: OnStep) -> None:
        """Keep the receiver."""
        self._on_step = on_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pass on the number of the step."""
        self._on_step(state.global_step)


def freeze_vision(model: Any) -> None:
    """Fix the vision tower, projector included.

    Source: cold start of DeepEyesV2, release: freeze_vision_tower and freeze_multi_modal_projector.
    """
    model.model.visual.requires_grad_(requires_grad=False)


def train_sft(
    model: Any,
    processor: Any,
    contexts: Sequence[TokenContext],
    params: TrainSftParams,
    *,
    seed: int,
    scratch: Path,
    on_step: OnStep,
    held_out: Sequence[TokenContext] = (),
) -> list[dict[str, float]]:
    """Train the model in place and return its loss curve; goes on from the last checkpoint.

    Args:
        model: a Qwen-VL model.
        processor: its processor.
        contexts: rendered trajectories.
        params: schedule and what is frozen.
        seed: order of the rows.
        scratch: folder of resumable checkpoints.
        on_step: called after every step.
        held_out: trajectories on which the loss is measured at times; none: it is not.

    Raises:
        RecordError: the scratch folder holds a training on other data, params or weights.
    """
    claim_scratch(
        scratch,
        {
            "params": params.model_dump_json(),
            "seed": str(seed),
            "data": text_digest(entry.digest for one in contexts for entry in one.entries),
            "weights": model_digest(model),
        },
    )
    set_seed(seed)
    encoder = None
    if params.freeze_vision:
        freeze_vision(model)
    if params.freeze_vision and not is_sharded():
        # Features are made outside the trainer's forward pass, where shards are not gathered.
        encoder = PictureEncoder(model, processor.image_processor, max_pictures=20_000)
    schedule = plan_schedule(
        [context.num_tokens for context in contexts],
        num_steps=params.num_steps,
        batch_size=params.batch_size,
        batch_tokens=params.batch_tokens,
        row_tokens=params.row_tokens,
        seed=seed,
        num_ranks=count_ranks(),
    )
    packer = Packer(
        model,
        processor,
        encoder=encoder,
        share_prompts=False,
        needs_picture=count_ranks() > 1,
    )
    with lora_layers(model, rank=params.lora_rank) as trained:
        trainer = SFTTrainer(
            model=trained,
            processing_class=processor,
            args=_config(params, schedule, seed=seed, scratch=scratch),
            train_dataset=Dataset.from_dict({"contexts": schedule.rows}),
            data_collator=PackedCollator(contexts, packer),
            callbacks=[StepReporter(on_step)],
        )
        add_policy_head(trainer.model)
        if held_out:
            loss = HeldOutLoss(trainer.model, held_out, packer, row_tokens=params.row_tokens)
            trainer.add_callback(HeldOutFigures(loss, every=params.validate_every))
        # The loss is the mean over the trained tokens of a step, in whatever rows they lie.
        trainer.model_accepts_loss_kwargs = True
        trainer.train(resume_from_checkpoint=last_checkpoint(scratch))
    model.requires_grad_(requires_grad=True)
    return _curve(trainer.state.log_history)


def _curve(log: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return one row per step that has a figure."""
    rows: dict[float, dict[str, float]] = {}
    for entry in log:
        found = {name: float(entry[name]) for name in ("loss", "held_out_loss") if name in entry}
        if found:
            step = float(entry["step"])
            rows.setdefault(step, {"step": step}).update(found)
    return [rows[step] for step in sorted(rows)]


def _config(params: TrainSftParams, schedule: Schedule, *, seed: int, scratch: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=schedule.rows_per_step // count_ranks(),
        train_sampling_strategy="sequential",
        max_steps=params.num_steps,
        learning_rate=params.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(params.warmup_share * params.num_steps),
        weight_decay=params.weight_decay,
        max_grad_norm=1.0,
        logging_steps=5,
        save_strategy="steps",
        save_steps=params.save_every,
        save_total_limit=1,
        seed=seed,
        data_seed=seed,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=params.gradient_checkpointing,
        disable_tqdm=True,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
