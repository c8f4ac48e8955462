"""Scores with their uncertainty."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_vlm.evaluation.metrics import (
    compute_accuracy,
    compute_difference,
    compute_tool_use,
)
from agentic_vlm.schema import ScoredAnswer, Verdict

VERDICTS = {"+": Verdict.CORRECT, "-": Verdict.INCORRECT, "?": Verdict.UNGRADED}
SIGNS = st.text(alphabet="+-?", max_size=60)


def answers(signs, **fields):
    known = {
        "model": "base", "suite": "pocket", "mode": "agent", "trajectory_id": "t",
        "family": "text", "need": "tool", "difficulty": 0, "rule": "text", "answer": "2",
        "stop_reason": "answer", "num_calls": 0, "num_failed_calls": 0, "num_tokens": 4,
    }  # fmt: skip
    return [
        ScoredAnswer(**{**known, **fields}, sample_id=f"s{number}", verdict=VERDICTS[sign])
        for number, sign in enumerate(signs)
    ]


def difference(first, second, *, num_bootstrap=2000, seed=0):
    return compute_difference(
        answers(first), answers(second), num_bootstrap=num_bootstrap, seed=seed
    )


def test_wilson_interval_of_eight_in_ten():
    # By hand: centre (0.8 + z^2/20) / (1 + z^2/10), z = 1.959964.
    found = compute_accuracy(answers("++++++++--"))
    assert found.mean == 0.8
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_ungraded_answers_count_in_no_mean_and_widen_the_bounds():
    found = compute_accuracy(answers("++-?"))
    assert (found.mean, found.n, found.num_ungraded) == (pytest.approx(2 / 3), 3, 1)
    assert (found.lowest, found.highest) == (0.5, 0.75)


def test_outages_are_told_apart_from_doubts():
    found = compute_accuracy(answers("+") + answers("??", stop_reason="infrastructure"))
    assert (found.num_ungraded, found.num_infrastructure) == (2, 2)


def test_no_answers_have_no_accuracy_rather_than_zero():
    assert compute_accuracy([]).mean is None
    assert compute_accuracy(answers("??")).mean is None


# A busy machine may take its time over an example.
@settings(deadline=None)
@given(SIGNS.filter(lambda signs: set(signs) & {"+", "-"}))
def test_the_interval_and_the_bounds_hold_the_mean(signs):
    found = compute_accuracy(answers(signs))
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.lowest <= found.mean + 1e-12
    assert found.mean <= found.highest + 1e-12


def test_a_paired_difference_by_hand():
    found = difference("+++++-----", "+----+----")
    assert (found.mean, found.n) == (pytest.approx(0.3), 10)
    assert (found.num_gained, found.num_lost) == (4, 1)
    # McNemar, 1 of 5 discordant: 2 * (1 + 5) / 32.
    assert found.p == pytest.approx(0.375)


def test_the_bootstrap_interval_of_a_clear_gain_excludes_zero():
    found = difference("+" * 40 + "-" * 10, "-" * 50)
    assert found.low > 0.6
    assert found.high < 0.95
    assert found.p < 1e-9


def test_samples_without_a_verdict_on_one_side_are_not_paired():
    assert difference("+?+", "--?").n == 1


def test_nothing_shared_gives_no_difference():
    assert difference("?", "+") == (None, None, None, 0, 0, 0, None)


@settings(deadline=None)
@given(SIGNS, SIGNS)
def test_swapping_the_models_turns_the_sign(first, second):
    there = difference(first, second, num_bootstrap=100)
    back = difference(second, first, num_bootstrap=100)
    assert (there.n, there.num_gained, there.p) == (back.n, back.num_lost, back.p)
    if there.n:
        assert there.mean == pytest.approx(-back.mean)


def test_equal_seeds_give_equal_intervals():
    first, second = "++-+-+--+", "-+-+---++"
    assert difference(first, second, seed=3) == difference(first, second, seed=3)


def test_tool_use_leaves_outages_out():
    rows = answers("++", num_calls=2, num_failed_calls=1) + answers("+", num_calls=0)
    rows += answers("?", stop_reason="infrastructure", num_calls=9)
    found = compute_tool_use(rows)
    assert (found.tool_rate, found.calls) == (pytest.approx(2 / 3), pytest.approx(4 / 3))
    assert (found.failed_calls, found.tokens) == (pytest.approx(2 / 3), 4)
