"""Groups of rollouts: which of them teach something, and what takes the place of the others."""

from collections.abc import Sequence

from agentic_vlm.errors import ExactnessError
from agentic_vlm.training.rollouts import RewardedEpisode, Roller


def check_groups(rollouts: Sequence[RewardedEpisode], *, group_size: int, step: int) -> None:
    """See that groups stand one after another: the trainer takes a baseline of each by place.

    Raises:
        ExactnessError: two rollouts of different groups stand in one, as after a swap.
    """
    for first in range(0, len(rollouts), group_size):
        names = {one.group_id for one in rollouts[first : first + group_size]}
        if len(names) > 1:
            raise ExactnessError(
                f"step {step}, rollouts {first} to {first + group_size - 1}",
                f"they belong to {len(names)} groups, and one baseline would be taken of them",
                "this is a fault of ours, unless somebody changed kept rollouts: delete them",
            )


def leave_out_small_groups(
    rollouts: Sequence[RewardedEpisode], *, min_group: int
) -> list[float | None]:
    """Return rewards, absent in groups with fewer than `min_group` of them: no baseline there."""
    counts: dict[str, int] = {}
    for rollout in rollouts:
        counts[rollout.group_id] = counts.get(rollout.group_id, 0) + (rollout.reward is not None)
    return [
        rollout.reward if counts[rollout.group_id] >= min_group else None for rollout in rollouts
    ]


def flat_groups(rollouts: Sequence[RewardedEpisode]) -> list[str]:
    """Return the samples whose rollouts all have one reward, or none: they teach nothing."""
    rewards: dict[str, set[float | None]] = {}
    for rollout in rollouts:
        known = rewards.setdefault(rollout.sample.sample_id, set())
        if rollout.reward is not None:
            known.add(rollout.reward)
    return [sample_id for sample_id, values in rewards.items() if len(values) < 2]


def roll_lively(
    roller: Roller, sample_ids: Sequence[str], *, step: int, version: int, rounds: int
) -> list[RewardedEpisode]:
    """Roll a step and, up to `rounds` times, other prompts in place of its flat groups.

    Source: dynamic sampling, DAPO, arXiv 2503.14476, section 3.2. Bounded: what is still flat in
    the end stays, and is left out of the loss.
    """
    rollouts = roller.roll(sample_ids, step=step, version=version)
    taken = set(sample_ids)
    for _ in range(rounds):
        flat = flat_groups(rollouts)
        fresh = roller.other_samples(taken, step=step, number=len(flat))
        if not fresh:
            break
        taken.update(fresh)
        size = sum(rollout.sample.sample_id == flat[0] for rollout in rollouts)
        again = [name for name in fresh for _ in range(size)]
        found = roller.roll(again, step=step, version=version)
        dull = set(flat_groups(found))
        lively = [name for name in fresh if name not in dull]
        for old, new in zip(flat, lively, strict=False):
            group = iter(one for one in found if one.sample.sample_id == new)
            rollouts = [next(group) if one.sample.sample_id == old else one for one in rollouts]
    return rollouts
