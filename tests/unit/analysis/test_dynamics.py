"""Averages per RL step, and pass counts of the probe."""

import pytest

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.dynamics import pass_counts, rl_curves, rl_curves_by_family
from agentic_vlm.analysis.family_dynamics import family_dynamics_table


def test_a_step_is_averaged_over_its_rollouts(make_rollout):
    rollouts = [make_rollout(), make_rollout(reward=0.0, reward_accuracy=0.0), make_rollout(step=1)]
    first, second = rl_curves(rollouts)
    assert (first.step, first.num_rollouts, first.reward, first.calls) == (0, 2, 0.5, 1)
    assert (second.step, second.reward) == (1, 1)
    assert first.kinds == {CallKind.NUMERICAL: 1}


def test_surprisal_counts_sampled_tokens_only(make_rollout):
    assert rl_curves([make_rollout()])[0].surprisal == pytest.approx(0.375)


def test_rollouts_without_reward_are_left_out_of_the_mean_and_shown(make_rollout):
    rows = [make_rollout(), make_rollout(reward=None, reward_accuracy=None, advantage=None)]
    figures = rl_curves(rows)[0]
    assert (figures.reward, figures.accuracy, figures.left_out) == (1, 1, 0.5)


def test_outages_do_not_lower_the_number_of_calls(make_rollout, make_trajectory):
    lost = make_trajectory(stop_reason="infrastructure", turns=(), answer=None)
    rows = [make_rollout(), make_rollout(trajectory=lost, reward=None, advantage=None)]
    assert rl_curves(rows)[0].calls == 1


def test_no_rollouts_give_no_curves():
    assert rl_curves([]) == []


def test_attempts_that_were_not_needed_leave_a_range(make_probe):
    probes = [
        make_probe(attempt=0, verdict="correct"),
        make_probe(attempt=1),
        make_probe(attempt=2, is_needed=False, verdict=None),
        make_probe(sample_id="s1", attempt=0),
        make_probe(sample_id="s1", attempt=1),
        make_probe(sample_id="s1", attempt=2),
    ]
    found = pass_counts(probes)["direct"]
    assert (found.at_least, found.at_most) == ((1, 1, 0, 0), (1, 0, 1, 0))
    assert (found.num_attempts, found.num_open) == (3, 1)


def test_an_ungraded_attempt_may_have_been_right(make_probe):
    found = pass_counts([make_probe(verdict="ungraded")])["direct"]
    assert (found.at_least, found.at_most) == ((1, 0), (0, 1))


def test_groups_with_equal_rewards_are_flat(make_rollout):
    rows = [
        make_rollout(group_id="a", reward=1.0),
        make_rollout(group_id="a", reward=1.0),
        make_rollout(group_id="b", reward=1.0),
        make_rollout(group_id="b", reward=0.2),
        make_rollout(group_id="c", reward=None),
    ]
    assert rl_curves(rows)[0].flat_groups == 0.5


def test_families_are_told_apart(make_rollout, make_trajectory):
    rows = [
        make_rollout(step=step, trajectory=make_trajectory(sample_id=name), reward_accuracy=right)
        for step, name, right in ((0, "p", 0.0), (1, "p", 1.0), (0, "t", 1.0), (0, "unknown", 1.0))
    ]
    found = rl_curves_by_family(rows, {"p": "perception", "t": "text"})
    assert {family: len(steps) for family, steps in found.items()} == {"perception": 2, "text": 1}
    assert [figures.accuracy for figures in found["perception"]] == [0.0, 1.0]
    table = family_dynamics_table(found)
    assert "| perception | 1.00 -&gt; 1.00 | 0.50 -&gt; 0.50 |" in table
    assert family_dynamics_table({}) == "Reinforcement learning was not run."
