"""GRPO on TRL with our own episodes, scored from packed rows.

Private methods of `GRPOTrainer` are overridden: `_generate` runs episodes, `_prepare_inputs` keeps
groups together, `_get_train_sampler` fixes the order of prompts by epoch, and scores come from
packed rows without padding. Grouping, advantages, loss, optimiser and checkpoints stay TRL's, which
is pinned; a contract test compares the scores.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.backends.seal import Seal
from agentic_vlm.backends.segments import takes_flash_attention, unwrap_adapters
from agentic_vlm.params import TrainRlParams
from agentic_vlm.training.ahead import RolloutsAhead
from agentic_vlm.training.buffer import check_buffer, check_masks, check_split, rollout_context
from agentic_vlm.training.features import shared_encoder
from agentic_vlm.training.groups import check_groups, leave_out_small_groups, roll_lively
from agentic_vlm.training.mismatch import (
    importance_weights,
    mismatch_figures,
    mismatch_sums,
    sampled_logprobs,
)
from agentic_vlm.training.order import EpochSampler
from agentic_vlm.training.packing import PackedRow, Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.rollouts import (
    RewardedEpisode,
    Roller,
    is_correct,
)

OnRollouts = Callable[[int, Sequence[RewardedEpisode], Sequence[float | None]], None]
"""Takes the step, its rollouts and their advantages."""


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
        max_turns: int | None = None,
        ahead: RolloutsAhead | None = None,
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
            max_turns: of an episode, where another engine or older weights sample: then tokens are
                weighed by how far the two differ, and that is logged. Absent: neither does.
            ahead: samples one step ahead. Absent: each step is sampled when it begins.
            **options: for GRPOTrainer.
        """
        self._roller, self._rl = roller, rl
        self._max_turns, self._ahead = max_turns, ahead
        self._on_weights, self._on_rollouts = on_weights, on_rollouts
        self._rows: Sequence[dict[str, Any]] = ()
        self.rollouts: list[RewardedEpisode] = []
        self._contexts: list[TokenContext] = []
        self._seals: list[Seal] = []
        self._scored: dict[str, Any] | None = None
        self._gap = (0.0, 0)
        self._passes: list[dict[str, Any]] = []
        self._processor = processor
        super().__init__(model, reward_funcs=self._rewards, processing_class=processor, **options)
        for scored in (self.model, self.ref_model):
            if scored is not None:
                add_policy_head(scored, temperature=self.temperature)
        shares = not takes_flash_attention(unwrap_adapters(self.model))
        self._packer = Packer(
            self.model,
            processor,
            encoder=shared_encoder(self.model, self.ref_model, processor, roller.policy),
            share_prompts=shares,
            needs_picture=self.accelerator.num_processes > 1,
        )

    def _rewards(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return leave_out_small_groups(self.rollouts, min_group=self._rl.min_group)

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        args = cast("GRPOConfig", self.args)
        return EpochSampler(
            seed=args.seed,
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=int(args.generation_batch_size or 1) // int(self.num_generations or 1),
            repeat_count=self.num_iterations * self._num_passes,
            shuffle=self.shuffle_dataset,
        )

    def _generate(self, prompts: Any) -> tuple[Any, ...]:
        """Run one episode per prompt instead of one completion."""
        self.rollouts = self._roll([row["sample_id"] for row in self._rows])
        size = self._rl.group_size
        check_groups(self.rollouts, group_size=size, step=self.state.global_step)
        self._contexts = [rollout_context(rollout) for rollout in self.rollouts]
        self._seals = [context.seal() for context in self._contexts]
        contexts = self._contexts
        completions = [
            [{"role": "assistant", "content": rollout.episode.trajectory.answer or ""}]
            for rollout in self.rollouts
        ]
        # An episode that failed before its first token still needs one; its mask is off.
        pad = self._processor.tokenizer.pad_token_id
        # TRL gets no pictures: the update takes them from the contexts, one pass at a time.
        return (
            [context.prompt_ids for context in contexts],
            [context.completion_ids or [pad] for context in contexts],
            [[int(on) for on in context.loss_mask] or [0] for context in contexts],
            completions,
            [[0.0 if x != x else x for x in context.logprobs] or [0.0] for context in contexts],
            {},
            None,
            [[] for _ in contexts],
        )

    def _roll(self, ids: Sequence[str]) -> list[RewardedEpisode]:
        """Return the rollouts of this step."""
        step = self.state.global_step
        if self._ahead is not None:
            return self._ahead.take(step, ids)
        self._on_weights()
        rounds = self._rl.dynamic_rounds
        # What the cold start wrote, no update has seen.
        version = 0 if self._rl.method == "rejection" else step
        return roll_lively(self._roller, ids, step=step, version=version, rounds=rounds)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Score as TRL does, then leave out what teaches nothing, and report."""
        self._rows = inputs
        out: dict[str, Any] = super()._generate_and_score_completions(inputs)
        out["rollout"] = torch.arange(len(self.rollouts), device=out["advantages"].device)
        if self._max_turns is not None:
            self._correct(out, max_turns=self._max_turns)
        if self._rl.method != "grpo":
            # The controls imitate right rollouts. With ratio 1 the gradient is that of SFT on them.
            right = [float(is_correct(rollout)) for rollout in self.rollouts]
            out["advantages"] = torch.tensor(right, device=out["advantages"].device)
        mask = out["completion_mask"] * out.get("tool_mask", 1)
        live = (out["advantages"] != 0).to(mask.dtype)[:, None]
        # Flat groups must not dilute the token mean.
        num_live = self.accelerator.gather((mask * live).sum()).sum()
        out["num_items_in_batch"] = num_live.clamp_min(1)
        advantages = [
            None if rollout.reward is None else float(value)
            for rollout, value in zip(self.rollouts, out["advantages"].tolist(), strict=True)
        ]
        self._on_rollouts(self.state.global_step, self.rollouts, advantages)
        return out

    def _correct(self, out: dict[str, Any], *, max_turns: int) -> None:
        """Score the rollouts before any update, weigh their tokens and log the mismatch."""
        full = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
        attention = torch.cat([out["prompt_mask"], out["completion_mask"]], dim=1)
        length = out["completion_ids"].shape[1]
        with torch.no_grad():
            scores, _, _ = self._get_per_token_logps_and_entropies(
                self.model, full, attention, length, batch_size=self.args.train_batch_size
            )
        sampled = sampled_logprobs(self._contexts, length=length).to(scores.device)
        cap = self._rl.max_sampler_ratio
        out["old_per_token_logps"] = scores
        out["sampler_ratio"] = importance_weights(scores, sampled, cap=cap)
        sums = mismatch_sums(
            scores.float().cpu(),
            sampled.float().cpu(),
            self._contexts,
            tokenizer=self._processor.tokenizer,
            cap=cap,
            max_turns=max_turns,
        )
        sums = self.accelerator.reduce(sums.to(scores.device), reduction="sum").cpu()
        for name, value in mismatch_figures(sums).items():
            self._metrics["train"][name].append(value)

    def _measure_gap(
        self, scores: torch.Tensor, row: PackedRow, contexts: Sequence[TokenContext]
    ) -> None:
        """Add up how far trainer and sampler differ on the tokens of a pass."""
        if self._step % (self._num_passes * self.num_iterations) == 0:
            self._gap = (0.0, 0)
        if any(one.policy_version != self.state.global_step for one in self.rollouts):
            # After the first update of a step the policy is no longer the one that sampled, nor is
            # it where rollouts are sampled ahead.
            return
        pairs = zip(row.owners.tolist(), row.places.tolist(), strict=True)
        sampled = torch.tensor([contexts[owner].logprobs[place] for owner, place in pairs])
        gaps = (scores.detach().float().cpu() - sampled).abs()
        gaps = gaps[~gaps.isnan()]
        self._gap = (self._gap[0] + float(gaps.sum()), self._gap[1] + len(gaps))

    @property
    def mismatch(self) -> float | None:
        """Mean gap of log-probabilities of sampler and trainer in the last step, nats per token.

        Absent where older weights sampled: there it says nothing about the two engines.
        """
        total, number = self._gap
        return total / number if number else None

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Sample once per step and hand out its rollouts in order, whole groups together.

        TRL shuffles rollouts here; members of a group share a prompt and stay in one pass.
        """
        if not cast("torch.nn.Module", self.model).training:
            return dict(super()._prepare_inputs(generation_batch))
        num_passes = self._num_passes
        if self._step % (num_passes * self.num_iterations) == 0 or not self._passes:
            batch = self._generate_and_score_completions(generation_batch)
            self._passes = split_tensor_dict(batch, num_passes)
            check_split(self._passes, num_rollouts=len(self.rollouts))
        return dict(self._passes[self._step % num_passes])

    @property
    def _num_passes(self) -> int:
        """Forward and backward passes per sampling, as GRPOConfig has worked it out."""
        return int(cast("GRPOConfig", self.args).steps_per_generation or 1)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Compute TRL's loss, with scores from packed rows."""
        self._scored = inputs
        if "sampler_ratio" in inputs:
            # TRL takes advantages per token: weights of the tokens, since no weight is negative.
            weighed = inputs["advantages"][:, None] * inputs["sampler_ratio"]
            inputs = {**inputs, "advantages": weighed}
        try:
            # TRL types its own method no further.
            return torch.as_tensor(super()._compute_loss(model, inputs))  # type: ignore[no-untyped-call]
        finally:
            self._scored = None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **_unused: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return log-probabilities and entropies [rollouts, tokens] of what the policy wrote.

        Zero elsewhere, where TRL's masks are zero too. A rollout without advantage has no gradient
        and is not computed, unless a term besides the policy loss needs it.
        """
        numbers = list(range(len(input_ids)))
        wanted = numbers
        if self._scored is not None:
            numbers = self._scored["rollout"].tolist()
            if self.beta == 0.0:
                live = self._scored["advantages"] != 0
                wanted = live.nonzero()[:, 0].tolist() or [0]
        contexts = [self._contexts[number] for number in numbers]
        seals = [self._seals[number] for number in numbers]
        check_buffer(input_ids, attention_mask, contexts, seals)
        if self._scored is not None:
            check_masks(self._scored, contexts)
        logps = torch.zeros(len(numbers), logits_to_keep, device=input_ids.device)
        entropies = torch.zeros_like(logps)
        size = batch_size or len(wanted)
        for at in range(0, len(wanted), size):
            some = torch.tensor(wanted[at : at + size])
            row = self._packer.pack([contexts[number] for number in some.tolist()])
            inputs = {name: self._prepare_input(value) for name, value in row.inputs.items()}
            out = model(**inputs, fused_lm_head=True)
            where = (some[row.owners].to(logps.device), row.places.to(logps.device))
            logps = logps.index_put(where, out.log_probs[0])
            if self._scored is not None:
                self._measure_gap(out.log_probs[0], row, [contexts[at] for at in some.tolist()])
            entropies = entropies.index_put(where, out.entropy[0])
        return logps, entropies, None
