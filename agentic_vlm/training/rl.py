"""Reinforcement learning with tools in the loop: one call from cold start to trained policy."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed
from trl import GRPOConfig

from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.params import TrainRlParams
from agentic_vlm.training.agent_grpo import AgentGRPOTrainer, OnRollouts
from agentic_vlm.training.ahead import KeepsRollouts, build_ahead
from agentic_vlm.training.lora import lora_layers
from agentic_vlm.training.ranks import count_ranks, is_sharded
from agentic_vlm.training.resume import claim_scratch, last_checkpoint, model_digest
from agentic_vlm.training.rollouts import RewardedEpisode, Roller, is_correct
from agentic_vlm.training.sft import OnStep, StepReporter, freeze_vision
from agentic_vlm.training.validation import HeldOutFigures

_ROLLOUTS_PER_PASS = 32
"""Rollouts per forward and backward pass; bounds memory, changes sums by rounding only."""


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
    on_mismatch: Callable[[int, float | None], None] = lambda step, mismatch: None,
    held_out: Sequence[str] = (),
) -> list[dict[str, float]]:
    """Train the model in place and return TRL's log; goes on from the last checkpoint.

    Samples of the roller that are `held_out` are answered every `validate_every` steps; the figures
    stand in the log.

    Raises:
        RecordError: the scratch folder holds a training on other data, params or weights.
        ValueError: the weights are sharded, and a policy of this process would sample from them.
    """
    if is_sharded() and isinstance(roller.policy, InProcessPolicy):
        raise ValueError(
            "sharded weights cannot be sampled from in process: ranks with different numbers of "
            "turns would wait for each other. Launch with flows/launch/ddp.yaml, or sample with "
            "an engine of its own"
        )
    claim_scratch(
        scratch,
        {
            "params": params.model_dump_json(),
            "seed": str(seed),
            "data": roller.digest(),
            "weights": model_digest(model),
        },
    )
    # A run that goes on has the weights no more that wrote rollouts ahead: it needs their files.
    roller.kept = scratch / "rollouts" if params.keep_rollouts or params.staleness else None
    set_seed(seed)
    if params.freeze_vision:
        freeze_vision(model)
    rows = [{"prompt": [{"role": "user", "content": ""}], "sample_id": one} for one in sample_ids]
    ahead = build_ahead(roller, sample_ids, params, seed=seed, on_weights=on_weights)
    with lora_layers(model, rank=params.lora_rank) as trained:
        trainer = AgentGRPOTrainer(
            trained,
            processor,
            roller=roller,
            rl=params,
            on_weights=on_weights,
            on_rollouts=on_rollouts,
            max_turns=_turns_to_correct(roller, params),
            ahead=ahead,
            args=_config(params, seed=seed, scratch=scratch),
            train_dataset=Dataset.from_list(rows),
            callbacks=[StepReporter(on_step), KeepsRollouts(roller, ahead)],
        )

        def report(step: int) -> None:
            sampled_at = step - 1 - (step - 1) % params.num_minibatches
            on_mismatch(sampled_at, trainer.mismatch)

        trainer.add_callback(StepReporter(report))
        if held_out:

            def answer(step: int) -> Mapping[str, float]:
                if ahead is not None:
                    # They are for the weights that began them.
                    ahead.wait()
                on_weights()
                return held_out_figures(roller.roll_held_out(held_out, step=step))

            unit = params.num_minibatches
            trainer.add_callback(HeldOutFigures(answer, every=params.validate_every, unit=unit))
        try:
            trainer.train(resume_from_checkpoint=last_checkpoint(scratch))
        finally:
            if ahead is not None:
                ahead.close()
    model.requires_grad_(requires_grad=True)
    return list(trainer.state.log_history)


def _turns_to_correct(roller: Roller, params: TrainRlParams) -> int | None:
    """Return the most turns of an episode where another engine or older weights sample.

    Absent where the model itself does.
    Absent too where right rollouts are imitated: every token of them counts as one.
    """
    if params.method != "grpo":
        return None
    if isinstance(roller.policy, VLLMPolicy | ColocatedPolicy) or params.staleness:
        return roller.kit.agent.max_turns
    return None


def held_out_figures(rollouts: Sequence[RewardedEpisode]) -> dict[str, float]:
    """Return accuracy and calls of rollouts that nobody trains on; outages do not count."""
    graded = [rollout for rollout in rollouts if rollout.reward is not None]
    number = max(len(graded), 1)
    return {
        "held_out_accuracy": sum(is_correct(rollout) for rollout in graded) / number,
        "held_out_calls": sum(one.episode.trajectory.num_calls for one in graded) / number,
        "held_out_graded": float(len(graded)),
    }


def _rollouts_per_pass(per_update: int, group_size: int) -> int:
    """Return the largest divisor of an update within bounds; whole groups where they fit.

    >>> _rollouts_per_pass(128, 8), _rollouts_per_pass(24, 5), _rollouts_per_pass(64, 64)
    (32, 24, 32)
    """
    sizes = [n for n in range(1, _ROLLOUTS_PER_PASS + 1) if per_update % n == 0]
    whole = [size for size in sizes if size % group_size == 0]
    return max(whole or sizes)


def _config(params: TrainRlParams, *, seed: int, scratch: Path) -> GRPOConfig:
    num_ranks = count_ranks()
    if params.prompts_per_step % (num_ranks * params.num_minibatches):
        raise ValueError(
            f"prompts_per_step {params.prompts_per_step} is no multiple of {num_ranks} processes "
            f"x {params.num_minibatches} minibatches"
        )
    # Of this process; whole groups, so that each has its baseline at hand.
    num_rollouts = params.prompts_per_step * params.group_size // num_ranks
    per_update = num_rollouts // params.num_minibatches
    micro = _rollouts_per_pass(per_update, params.group_size)
    return GRPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_update // micro,
        steps_per_generation=num_rollouts // micro,
        num_generations=params.group_size,
        max_steps=params.num_steps * params.num_minibatches,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.learning_rate_schedule,
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
        gradient_checkpointing=params.gradient_checkpointing,
        disable_tqdm=True,
        remove_unused_columns=False,
        log_completions=False,
    )
