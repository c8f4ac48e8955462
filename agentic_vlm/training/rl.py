"""Reinforcement learning with tools in the loop: GRPO on TRL, with our own episodes.

One private method of `GRPOTrainer` is overridden, `_generate`; sampler, grouping, advantages, loss,
optimiser and checkpoints stay TRL's. A contract test fails when TRL changes what we rely on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed
from trl import GRPOConfig, GRPOTrainer

from agentic_vlm.agent.context import check_exact
from agentic_vlm.errors import ExactnessError
from agentic_vlm.params import TrainRlParams
from agentic_vlm.training.resume import last_checkpoint
from agentic_vlm.training.rollouts import (
    RewardedEpisode,
    Roller,
    is_correct,
    leave_out_small_groups,
)
from agentic_vlm.training.sft import OnStep, StepReporter
from agentic_vlm.training.vision_once import RememberingImageProcessor, share_pictures

OnRollouts = Callable[[int, Sequence[RewardedEpisode], Sequence[float | None]], None]
"""Takes the step, its rollouts and their advantages."""

_MICRO_BATCH = 16
"""Rollouts per forward and backward pass; bounds memory, changes sums by rounding only."""


_PER_COMPLETION_TOKEN = (
    "completion_ids",
    "completion_mask",
    "tool_mask",
    "old_per_token_logps",
    "sampling_per_token_logps",
    "ref_per_token_logps",
)


def _see_images() -> None:
    """Marks the trainer as one with tools, so that it encodes the pictures of whole episodes."""


class AgentGRPOTrainer(GRPOTrainer):
    """GRPO whose completions are episodes of the loop."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        roller: Roller,
        rl: TrainRlParams,
        on_weights: Callable[[], None],
        on_rollouts: OnRollouts,
        **options: Any,
    ) -> None:
        """Build TRL's trainer and keep ours.

        Args:
            model: the policy in training.
            processor: its processor.
            roller: samples the episodes of a step.
            rl: method and minimum group.
            on_weights: called before sampling, whenever the weights may have changed.
            on_rollouts: takes the rollouts of each step with their advantages.
            **options: for GRPOTrainer.
        """
        self._roller, self._rl = roller, rl
        self._on_weights, self._on_rollouts = on_weights, on_rollouts
        self._rows: Sequence[dict[str, Any]] = ()
        self.rollouts: list[RewardedEpisode] = []
        self._processor = processor
        super().__init__(model, reward_funcs=self._rewards, processing_class=processor, **options)
        self._image_processor = RememberingImageProcessor(
            processor.image_processor, max_pictures=2_000
        )
        # Images of tools take TRL's path for tool images only where it has tools of its own.
        self.tools = [_see_images]

    def _rewards(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return leave_out_small_groups(self.rollouts, min_group=self._rl.min_group)

    def _generate(self, prompts: Any) -> tuple[Any, ...]:
        """Run one episode per prompt instead of one completion."""
        self._on_weights()
        ids = [row["sample_id"] for row in self._rows]
        self.rollouts = self._roller.roll(ids, step=self.state.global_step)
        contexts = []
        for rollout in self.rollouts:
            context = rollout.episode.context
            if context is None:
                raise ValueError(f"sample {rollout.sample.sample_id}: an episode without tokens")
            check_exact(context)
            contexts.append(context)
        images = [context.images for context in contexts]
        completions = [
            [{"role": "assistant", "content": rollout.episode.trajectory.answer or ""}]
            for rollout in self.rollouts
        ]
        # An episode that failed before its first token still needs one; its mask is off.
        pad = self._processor.tokenizer.pad_token_id
        return (
            [context.prompt_ids for context in contexts],
            [context.completion_ids or [pad] for context in contexts],
            [[int(on) for on in context.loss_mask] or [0] for context in contexts],
            completions,
            [[0.0 if x != x else x for x in context.logprobs] or [0.0] for context in contexts],
            {},
            images if any(images) else None,
            images,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Score as TRL does, then leave out what teaches nothing, and report."""
        self._rows = inputs
        plain = self._processor.image_processor
        self._processor.image_processor = self._image_processor
        try:
            out: dict[str, Any] = super()._generate_and_score_completions(inputs)
        finally:
            self._processor.image_processor = plain
        self._check_pictures(out)
        if self._rl.method == "rejection":
            # The control: imitate right rollouts. With ratio 1 the gradient is that of SFT on them.
            right = [float(is_correct(rollout)) for rollout in self.rollouts]
            out["advantages"] = torch.tensor(right, device=out["advantages"].device)
        mask = out["completion_mask"] * out.get("tool_mask", 1)
        live = (out["advantages"] != 0).to(mask.dtype)[:, None]
        # Flat groups must not dilute the token mean.
        out["num_items_in_batch"] = (mask * live).sum().clamp_min(1)
        advantages = [
            None if rollout.reward is None else float(value)
            for rollout, value in zip(self.rollouts, out["advantages"].tolist(), strict=True)
        ]
        self._on_rollouts(self.state.global_step, self.rollouts, advantages)
        return out

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Drop the columns of a micro-batch that hold padding only.

        TRL pads to the longest row of the whole step, and few episodes are that long.
        """
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        return trim_padding(inputs)

    def _check_pictures(self, out: dict[str, Any]) -> None:
        """Refuse a batch whose pictures TRL has dropped, which it does without a word."""
        full = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
        num_pads = int((full == self._processor.image_token_id).sum())
        grids = out.get("image_grid_thw")
        num_features = 0 if grids is None else int(grids.prod(dim=-1).sum()) // 4
        if num_pads != num_features:
            raise ExactnessError(
                f"step {self.state.global_step}",
                f"{num_pads} placeholders but {num_features} features",
                "an episode was changed between loop and trainer; this is a fault of ours",
            )


def trim_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the micro-batch without columns that are padding in every row."""
    width = inputs["prompt_ids"].shape[1]
    first = int(inputs["prompt_mask"].argmax(dim=1).min())
    length = int(inputs["completion_mask"].sum(dim=1).max())
    trimmed = dict(inputs)
    for name in ("prompt_ids", "prompt_mask"):
        trimmed[name] = inputs[name][:, first:]
    for name in _PER_COMPLETION_TOKEN:
        if inputs.get(name) is not None:
            trimmed[name] = inputs[name][:, :length]
    if inputs.get("mm_token_type_ids") is not None:
        trimmed["mm_token_type_ids"] = inputs["mm_token_type_ids"][:, first : width + length]
    return trimmed


def train_rl(
    model: Any,
    processor: Any,
    roller: Roller,
    sample_ids: Sequence[str],
    params: TrainRlParams,
    *,
    seed: int,
    scratch: Path,
    on_weights: Callable[[], None],
    on_rollouts: OnRollouts,
    on_step: OnStep,
) -> list[dict[str, float]]:
    """Train the model in place and return TRL's log; goes on from the last checkpoint."""
    set_seed(seed)
    share_pictures(model)
    rows = [{"prompt": [{"role": "user", "content": ""}], "sample_id": one} for one in sample_ids]
    trainer = AgentGRPOTrainer(
        model,
        processor,
        roller=roller,
        rl=params,
        on_weights=on_weights,
        on_rollouts=on_rollouts,
        args=_config(params, seed=seed, scratch=scratch),
        train_dataset=Dataset.from_list(rows),
        callbacks=[StepReporter(on_step)],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(scratch))
    return list(trainer.state.log_history)


def _config(params: TrainRlParams, *, seed: int, scratch: Path) -> GRPOConfig:
    num_rollouts = params.prompts_per_step * params.group_size
    per_update = num_rollouts // params.num_minibatches
    micro = next(
        size for size in range(min(_MICRO_BATCH, per_update), 0, -1) if per_update % size == 0
    )
    return GRPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_update // micro,
        steps_per_generation=num_rollouts // micro,
        num_generations=params.group_size,
        max_steps=params.num_steps * params.num_minibatches,
        learning_rate=params.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        loss_type=params.loss,
        scale_rewards=params.scale_rewards,
        epsilon=params.clip_low,
        epsilon_high=params.clip_high,
        beta=params.kl,
        temperature=params.temperature,
        mask_truncated_completions=False,
        max_completion_length=4096,
        logging_steps=1,
        save_strategy="steps",
        save_steps=params.save_every * params.num_minibatches,
        save_total_limit=1,
        seed=seed,
        data_seed=seed,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        log_completions=False,
    )
