"""Sections of the stages that train."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agentic_vlm.params.base import Section
from agentic_vlm.params.data import FAMILIES, Family, Temperature
from agentic_vlm.params.parts import PositiveFloat, PositiveInt, Share


class BuildBaseParams(Section):
    """Stage build_base: the pocket base model, from pixels. Values are ours, measured."""

    num_overview_steps: PositiveInt = 700
    """Steps of the first course: 32 overviews and 48 crops with a label per vision token."""
    num_crop_steps: PositiveInt = 600
    """Steps of the second course: 8 overviews and 112 crops, until letters are read."""
    num_place_steps: PositiveInt = 700
    """Steps of 32 lessons, most about the places of plates: pointing comes late and at once."""
    num_steps: PositiveInt = 1300
    """Steps of 32 lessons, the last ones in the forms of the loop. Smaller batches: more updates
    for the same time, and finding what a question names takes updates, not samples."""
    num_manner_steps: PositiveInt = 450
    """Steps of 32 lessons at half the learning rate, falling from the start, half of them forms."""
    num_copy_steps: PositiveInt = 400
    """Steps of 32 lessons, most of them copying names, charts and receipts."""
    num_prompted_steps: PositiveInt = 500
    """Steps like those of `num_copy_steps`, most lessons behind the system message of the loop:
    what was done well in short questions was done badly there."""
    num_polish_steps: PositiveInt = 400
    """Steps like those of `num_manner_steps`, many about charts, receipts and strangers."""
    learning_rate: PositiveFloat = 2e-3
    """Peak learning rate of AdamW. 1e-3 learned nothing in 7,000 samples."""
    decay_share: Share = 0.4
    """Share of the steps in which the learning rate falls and the forms of the loop are read."""
    save_every: PositiveInt = 50
    """Steps between resumable checkpoints."""
    num_skill_pictures: PositiveInt = 400
    """Held-out pictures on which reading and pointing are measured."""


class TrainSftParams(Section):
    """Stage train_sft: the cold start."""

    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of AdamW, cosine. Paper: 1e-5; pocket: a model of 2 M parameters."""
    batch_size: PositiveInt = 32
    """Trajectories per step. Paper: 128."""
    batch_tokens: PositiveInt | None = None
    """Most tokens per step instead of `batch_size`. Absent: trajectories count, as in the paper."""
    row_tokens: PositiveInt = 4096
    """Most tokens of a packed row, that is of one forward pass. Bounds memory; changes sums by
    rounding only. Ours, measured on two cores."""
    num_steps: PositiveInt = 150
    """Optimiser steps. Paper: 3 epochs."""
    warmup_share: Share = 0.1
    """Share of the steps with rising learning rate. Release: 0.1."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight decay. Release: 0."""
    freeze_vision: bool = True
    """Keep vision tower and projector fixed. Release: both frozen."""
    lora_rank: PositiveInt | None = None
    """Rank of LoRA updates of the language model; absent trains all of it. Paper: none."""
    gradient_checkpointing: bool = False
    """Compute activations of a layer again in the backward pass. Saves memory, costs a third."""
    max_tokens: PositiveInt = 1152
    """Longest trajectory, tokens; longer ones are an error, never cut. Release: 32768."""
    validation_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the samples whose trajectories are held out, for a loss that training does not see.
    Off; paper: none."""
    validate_every: PositiveInt = 50
    """Steps between two measurements on what is held out."""
    save_every: PositiveInt = 50
    """Steps between resumable checkpoints."""


class TrainRlParams(Section):
    """Stage train_rl: GRPO with tools in the loop."""

    method: Literal["grpo", "rejection", "online_rejection"] = "grpo"
    """Paper: GRPO. The others are baselines that imitate right rollouts: those of the cold start as
    it was (`rejection`; RFT in DeepSeekMath, arXiv 2402.03300, section 5.2.1), or those of the
    policy as it is at each step (`online_rejection`; Online RFT there)."""
    num_steps: PositiveInt = 40
    """Sampling steps. Paper: about 60 (author, issue 1)."""
    prompts_per_step: PositiveInt = 24
    """Groups per step. Paper: 256."""
    families: tuple[Family, ...] = Field(default=FAMILIES, min_length=1)
    """Families of the RL pool that are trained on; fewer for ablations. Paper: perception,
    reasoning, both, all."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """Rollouts per prompt. Paper: 16."""
    min_group: Annotated[int, Field(ge=2)] = 2
    """Fewest graded rollouts from which a group has an advantage. Ours."""
    num_minibatches: PositiveInt = 1
    """Optimiser updates per step. Release: 8."""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate of AdamW. Paper: 1e-6; pocket: a model of 2 M parameters."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """`linear` falls to nothing at the last update. Paper: constant. The pocket has `linear`
    (docs/decisions/0014-pocket-rl.md)."""
    lora_rank: PositiveInt | None = None
    """Rank of LoRA updates of the language model; absent trains everything. Paper: none."""
    freeze_vision: bool = False
    """Leave vision tower and projector as they are. Paper: trained. The pocket freezes them: its
    small tower lost what direct questions ask for (docs/decisions/0014-pocket-rl.md)."""
    loss: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """How token losses are averaged. Release: token mean, `dapo` in TRL."""
    scale_rewards: Literal["group", "none"] = "group"
    """Divide advantages by the spread of the group (GRPO), or not (Dr. GRPO, arXiv 2503.20783)."""
    gradient_checkpointing: bool = False
    """Compute activations of a layer again in the backward pass. Saves memory, costs a third."""
    clip_low: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Lower clip of the probability ratio. Paper, section 4.1: 0.2."""
    clip_high: PositiveFloat = 0.3
    """Upper clip of the probability ratio. Paper, section 4.1: 0.3."""
    max_sampler_ratio: PositiveFloat = 2.0
    """Most that a token counts, p_trainer / p_sampler, where vLLM samples (model.policy) or
    `staleness` is 1. Truncated importance sampling, Yao et al. 2025: 2; paper: none."""
    kl: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the KL term. Paper, section 4.1: 0. The pocket has 0.02: without it RL forgot how
    to answer direct questions (docs/decisions/0014-pocket-rl.md)."""
    temperature: Temperature = 1.0
    """Sampling temperature. Release: 1."""
    accuracy_weight: Share = 0.8
    """Weight of accuracy in the reward. Paper, section 3.4: 0.8."""
    format_weight: Share = 0.2
    """Weight of form in the reward. Paper, section 3.4: 0.2."""
    search_penalty: Share = 0.1
    """Share of accuracy lost once a search call occurs, search family only. Release: 0.1."""
    max_answer_chars: PositiveInt = 300
    """Answers of this length or more earn nothing in perception and search. Release: 300."""
    efficiency_weight: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the reward for few calls. Off; paper: none."""
    tool_bonus: Annotated[float, Field(ge=0.0)] = 0.0
    """Bonus for a right answer with a tool. Off; DeepEyes v1: 1.2."""
    soft_limit_tokens: PositiveInt | None = None
    """Tokens of the policy from which the reward falls, down to 1 less at `hard_limit_tokens`. Off;
    DAPO (arXiv 2503.14476, section 3.4): 16384; paper: none."""
    hard_limit_tokens: PositiveInt | None = None
    """Tokens from which the whole penalty holds. DAPO: 20480."""
    dynamic_rounds: Annotated[int, Field(ge=0)] = 0
    """How often a step samples other prompts in place of groups whose rewards are equal. Off;
    DAPO, section 3.2: until no group is flat; paper: none."""
    keep_rollouts: bool = False
    """Write the rollouts of a step to scratch before its update, until a checkpoint has it, so that
    a killed run does not sample them again. For engines whose sampling is not deterministic; ours
    repeats it exactly."""
    staleness: Literal[0, 1] = 0
    """Steps by which the weights that sample are behind those that are trained. With 1 a server
    samples the next step beside the update, and tokens are weighed by how far the weights have
    moved. Off; paper: 0."""
    validation_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the pool that is held out, to be answered at times during training. Off."""
    validate_every: PositiveInt = 10
    """Steps between two measurements on what is held out."""
    alarms: Literal["off", "warn", "stop"] = "warn"
    """What an alarm does: interaction collapse, placeholder hacking, runaway, mismatch. Ours."""
    save_every: PositiveInt = 10
    """Steps between resumable checkpoints."""

    @model_validator(mode="after")
    def _groups_can_fill(self) -> Self:
        if self.min_group > self.group_size:
            raise ValueError(f"min_group {self.min_group} exceeds group_size {self.group_size}")
        if (self.soft_limit_tokens is None) != (self.hard_limit_tokens is None):
            raise ValueError("soft_limit_tokens and hard_limit_tokens go together")
        if (self.hard_limit_tokens or 1) <= (self.soft_limit_tokens or 0):
            raise ValueError(
                f"hard_limit_tokens {self.hard_limit_tokens} is not above soft_limit_tokens "
                f"{self.soft_limit_tokens}"
            )
        if self.staleness and self.method != "grpo":
            raise ValueError(
                f"staleness 1 corrects a policy gradient, and method {self.method} has none: set "
                "staleness: 0, or method: grpo"
            )
        if self.prompts_per_step % self.num_minibatches:
            raise ValueError(
                f"prompts_per_step {self.prompts_per_step} is no multiple of num_minibatches "
                f"{self.num_minibatches}"
            )
        return self
