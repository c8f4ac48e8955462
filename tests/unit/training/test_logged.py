"""What the curves take from the trainer's log: it outlives a kill, what a process remembers not."""

from agentic_vlm.params import Params
from agentic_vlm.training.logged import last_figures, read_log


def test_figures_stand_at_the_step_whose_rollouts_they_are_about() -> None:
    """Two updates per step: the mismatch is measured in the first one, held-out after the last."""
    params = Params.model_validate({"train_rl": {"num_minibatches": 2}})
    held_out = {"held_out_accuracy": 0.5, "held_out_calls": 1.0, "held_out_graded": 8.0}
    log = [
        {"step": 1, "loss": 0.1, "mismatch": 0.01, "mismatch_turn_1": 0.02},
        {"step": 2, "loss": 0.1},
        {"step": 3, "loss": 0.1, "mismatch": 0.03, "mismatch_action": 0.2},
        {"step": 4, **held_out},
    ]
    found = read_log(log, params)
    assert found.mismatch == {
        0: {"mismatch": 0.01, "mismatch_turn_1": 0.02},
        1: {"mismatch": 0.03, "mismatch_action": 0.2},
    }
    assert found.held_out == {2: held_out}
    assert last_figures("sampler", found.mismatch) == {"sampler": found.mismatch[1]}


def test_a_log_without_them_leaves_the_curves_as_they_are() -> None:
    found = read_log([{"step": 1, "loss": 0.1}], Params())
    assert (found.mismatch, found.held_out) == ({}, {})
    assert last_figures("sampler", found.mismatch) == {}
