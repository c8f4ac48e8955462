"""Rollouts of the next step, sampled while this one is trained: one step old, never more.

    step        k                          k + 1
    weights     those after step k - 1     those after step k
    sampled     rollouts of k + 1          rollouts of k + 2
    trained     rollouts of k              rollouts of k + 1

The first step has nothing to be old against: its rollouts are sampled before it, and those of the
second with the same weights. docs/decisions/0018-rollouts-one-step-ahead.md says why one step.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple, Protocol

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.errors import ExactnessError
from agentic_vlm.params import TrainRlParams
from agentic_vlm.training.groups import roll_lively
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.order import prompts_of_step
from agentic_vlm.training.ranks import count_ranks
from agentic_vlm.training.rollouts import RewardedEpisode, Roller

logger = logging.getLogger(__name__)


class Roll(Protocol):
    """Samples the rollouts of a step."""

    def __call__(
        self, sample_ids: Sequence[str], *, step: int, version: int
    ) -> list[RewardedEpisode]:
        """Return them; `version` counts the updates of the weights that sample."""
        ...


class Prompts(NamedTuple):
    """What a step asks about."""

    step: int
    """Number of optimiser updates before it."""
    sample_ids: list[str]
    """One entry per rollout of this process."""


class RolloutsAhead:
    """Hands out the rollouts of a step and begins with those of the next one."""

    def __init__(
        self,
        roll: Roll,
        *,
        on_weights: Callable[[], None],
        following: Callable[[int], Prompts | None],
        max_age: int,
        thread_of: LoopThread | None,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the parts; nothing is sampled yet.

        Args:
            roll: samples with the weights of the last `on_weights`.
            on_weights: lets the policy sample with the present weights.
            following: the step after a step; absent after the last one.
            max_age: most updates by which weights may be behind the step that their rollouts train.
            thread_of: sample in a thread beside the update; the loop that runs the episodes. Only
                for a policy with weights of its own. Absent: sample before the update.
            on_idle: called where weights were announced that nobody samples with.
        """
        self._roll, self._on_weights = roll, on_weights
        self._following, self._max_age = following, max_age
        self._on_idle = on_idle
        self._loop = thread_of
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead") if thread_of else None
        self._begun: tuple[Prompts, Future[list[RewardedEpisode]]] | None = None

    def take(self, step: int, sample_ids: Sequence[str]) -> list[RewardedEpisode]:
        """Return the rollouts of a step, and begin those of the next one with the present weights.

        A run that goes on finds those of its first step on disk. Where somebody deleted them, they
        are sampled anew, with the present weights.

        Raises:
            ExactnessError: the step asks about other samples than was expected, or its rollouts are
                too old.
        """
        if self._begun is None:
            self._on_weights()
            rollouts = self._roll(sample_ids, step=step, version=step)
        else:
            prompts, future = self._begun
            rollouts = future.result()
            self._check_prompts(prompts, step, sample_ids)
            self._on_weights()
        self._check_age(rollouts, step)
        self._begin(step)
        return rollouts

    def wait(self) -> None:
        """Wait until nothing is being sampled; a fault is raised by the step that it belongs to."""
        if self._begun is not None:
            wait([self._begun[1]])

    def close(self) -> None:
        """Cancel what is being sampled, and wait for the thread to end."""
        if self._thread is None or self._loop is None:
            return
        if self._begun is not None:
            # Between two works of the loop there is nothing to cancel: then the next one is.
            while wait([self._begun[1]], timeout=0.1).not_done:
                self._loop.cancel()
        self._thread.shutdown()

    def _begin(self, step: int) -> None:
        prompts = self._following(step)
        if prompts is None:
            self._begun = None
            self._on_idle()
            return
        if self._thread is not None:
            future = self._thread.submit(
                self._roll, prompts.sample_ids, step=prompts.step, version=step
            )
        else:
            future = Future()
            future.set_result(self._roll(prompts.sample_ids, step=prompts.step, version=step))
        self._begun = prompts, future

    def _check_prompts(self, expected: Prompts, step: int, sample_ids: Sequence[str]) -> None:
        if expected != (step, list(sample_ids)):
            raise ExactnessError(
                f"step {step}",
                f"its samples are not those that were sampled ahead for step {expected.step}",
                "this is a fault of ours: seed and epoch fix the order of prompts",
            )

    def _check_age(self, rollouts: Sequence[RewardedEpisode], step: int) -> None:
        oldest = min((one.policy_version for one in rollouts), default=step)
        if not 0 <= step - oldest <= self._max_age:
            raise ExactnessError(
                f"step {step}",
                f"its rollouts were sampled after {oldest} updates, at most {self._max_age} behind",
                "delete the kept rollouts of the step; they are sampled again",
            )


def build_ahead(
    roller: Roller,
    sample_ids: Sequence[str],
    params: TrainRlParams,
    *,
    seed: int,
    on_weights: Callable[[], None],
) -> RolloutsAhead | None:
    """Return what samples ahead; absent where `staleness` is 0.

    Args:
        roller: samples the episodes.
        sample_ids: what the whole training asks about, in the order of its data set.
        params: steps, groups and staleness.
        seed: of the order of prompts.
        on_weights: lets the policy sample with the present weights.
    """
    if not params.staleness:
        return None
    has_own_weights = isinstance(roller.policy, VLLMPolicy)
    if not has_own_weights:
        logger.warning(
            "train_rl.staleness is 1, but this process samples: rollouts are a step old, and no "
            "time is saved"
        )
    return RolloutsAhead(
        partial(roll_lively, roller, rounds=params.dynamic_rounds),
        on_weights=on_weights,
        following=partial(_following, sample_ids=sample_ids, params=params, seed=seed),
        max_age=params.staleness * params.num_minibatches,
        # A policy of this process shares its weights with the update.
        thread_of=roller.loop if has_own_weights else None,
        on_idle=roller.on_sampled,
    )


def _following(
    step: int, *, sample_ids: Sequence[str], params: TrainRlParams, seed: int
) -> Prompts | None:
    """Return what this process asks about in the step after a step, absent after the last one."""
    number = step // params.num_minibatches + 1
    if number >= params.num_steps:
        return None
    places = prompts_of_step(
        number, num_samples=len(sample_ids), num_prompts=params.prompts_per_step, seed=seed
    )
    names = [sample_ids[place] for place in places for _ in range(params.group_size)]
    size = len(names) // count_ranks()
    first = size * int(PartialState().process_index)
    return Prompts(number * params.num_minibatches, names[first : first + size])


class KeepsRollouts(TrainerCallback):
    """Sees to it that a checkpoint and the kept rollouts belong together."""

    def __init__(self, roller: Roller, ahead: RolloutsAhead | None) -> None:
        """Keep who has the files and who may be writing one."""
        self._roller, self._ahead = roller, ahead

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait before a checkpoint: a run that goes on there needs what was begun."""
        if control.should_save and self._ahead is not None:
            self._ahead.wait()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Delete what was trained on before the checkpoint."""
        self._roller.drop_kept(before=state.global_step)
