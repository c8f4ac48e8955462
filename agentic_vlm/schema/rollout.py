"""Rollout: a trajectory sampled from the policy, with its tokens and its reward."""

from agentic_vlm.schema.record import Record
from agentic_vlm.schema.trajectory import Trajectory


class Rollout(Record):
    """One member of a group, as the trainer saw it."""

    trajectory: Trajectory
    """The episode."""
    step: int
    """Optimiser step before which it was sampled."""
    policy_version: int
    """Number of weight updates that the sampling policy had seen."""
    group_id: str
    """Rollouts with equal group ids share a prompt and a step."""
    prompt_ids: tuple[int, ...]
    """[P] token ids of the prompt, image placeholders expanded."""
    completion_ids: tuple[int, ...]
    """[T] token ids after the prompt, sampled ones and observations."""
    loss_mask: tuple[bool, ...]
    """[T] True where the policy sampled the token and is trained on it."""
    sampler_logprobs: tuple[float, ...]
    """[T] log-probability under the sampling policy; 0 where loss_mask is False."""
    reward_accuracy: float | None
    """Accuracy part before weighting; absent where the answer was not graded."""
    reward_format: float
    """Format part before weighting."""
    reward: float | None
    """Weighted sum; absent for infrastructure failures and ungraded answers."""
    advantage: float | None
    """Reward relative to its group; absent where the rollout is left out."""
