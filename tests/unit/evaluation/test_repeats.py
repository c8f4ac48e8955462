"""Figures over groups, several attempts per question, and what tools add and harm."""

import pytest

from agentic_vlm.evaluation.controls.efficiency import FATES, measure_efficiency
from agentic_vlm.evaluation.controls.gains import split_gains
from agentic_vlm.evaluation.figures import grouped, ratio, share
from agentic_vlm.evaluation.metrics import compute_difference
from agentic_vlm.evaluation.repeats import mean_over_attempts, pass_at_k, spread_of_seeds
from agentic_vlm.schema import (
    FinalAnswer,
    Observation,
    ObservationStatus,
    StopReason,
    ToolCall,
    Turn,
    Verdict,
)

VERDICTS = {"1": Verdict.CORRECT, "0": Verdict.INCORRECT, "?": Verdict.UNGRADED}


@pytest.fixture
def attempts(make_score):
    """Give a builder of scores from strings, one per question, one sign per attempt."""

    def build(*questions, **fields):
        return [
            make_score(
                sample_id=f"s{number}",
                verdict=VERDICTS[sign],
                flags=(f"attempt={attempt}",) if attempt else (),
                **fields,
            )
            for number, signs in enumerate(questions)
            for attempt, sign in enumerate(signs)
        ]

    return build


def test_pass_at_k_is_the_chance_of_one_in_k(attempts):
    scores = attempts("1000", "0000", "1111")
    assert pass_at_k(scores, 1).mean == pytest.approx((1 / 4 + 0 + 1) / 3)
    assert pass_at_k(scores, 2).mean == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert pass_at_k(scores, 4).mean == pytest.approx(2 / 3)
    assert pass_at_k(scores, 4).n == 3


def test_pass_at_k_shows_both_bounds_and_leaves_out_what_is_short(attempts):
    figure = pass_at_k(attempts("10", "0?"), 2)
    assert (figure.mean, figure.n) == (1.0, 1)
    assert (figure.lowest, figure.highest) == (0.5, 1.0)
    with pytest.raises(ValueError, match="at least 1"):
        pass_at_k([], 0)


def test_attempts_at_one_question_are_not_independent(attempts):
    scores = attempts(*["1" * 10] * 5, *["0" * 10] * 5)
    figure = mean_over_attempts(scores)
    # Ten questions, not a hundred answers: the interval is that of ten.
    assert figure.n == 10
    assert figure.high - figure.low > 2 * (share("x", scores).high - share("x", scores).low)


def test_seeds_are_shown_one_by_one(attempts):
    found = spread_of_seeds(attempts("10", "11"))
    assert (found.means, found.mean) == ((1.0, 0.5), 0.75)
    assert found.deviation == pytest.approx(0.3536, abs=1e-4)
    assert spread_of_seeds([]).mean is None


def test_differences_of_several_attempts_are_differences_of_means(attempts):
    found = compute_difference(
        attempts("11", "10", "00"), attempts("00", "10", "10"), num_bootstrap=500, seed=0
    )
    assert found.mean == pytest.approx((1 + 0 - 0.5) / 3)
    assert (found.num_gained, found.num_lost, found.n) == (1, 1, 3)


def test_a_figure_of_nothing_is_absent():
    figure = grouped("x", [], group=lambda row: "", count=lambda marks: (1.0,), statistic=ratio)
    assert (figure.mean, figure.low, figure.n) == (None, None, 0)


def test_gain_and_harm_are_counted_apart(attempts):
    split = split_gains(
        attempts("1", "1", "0", "0", "?"), attempts("1", "0", "1", "0", "1", mode="direct")
    )
    assert (split.only_with, split.only_without, split.both, split.neither) == (1, 1, 1, 1)
    assert split.num_undecided == 1
    needless = split.figures()[-1]
    assert (needless.mean, needless.n) == (0.5, 2)


def call(code, text="7", status=ObservationStatus.OK):
    observation = Observation(text=text, status=status)
    return Turn(text=code, action=ToolCall(tool="python", code=code), observation=observation)


def test_calls_are_failed_repeated_empty_or_used(make_trajectory):
    turns = (
        call("a"), call("a"), call("b", text=""), call("c", status=ObservationStatus.ERROR),
        Turn(text="x", action=FinalAnswer(text="7"), num_tokens=4),
    )  # fmt: skip
    outage = make_trajectory(stop_reason=StopReason.INFRASTRUCTURE, turns=())
    found = measure_efficiency([make_trajectory(turns=turns), outage])
    assert found["calls per answer"] == (4, 4, 4, 1)
    assert found["calls per right answer"].mean == found["tokens per answer"].mean == 4
    assert {found[f"{fate} calls, share"].mean for fate in FATES} == {0.25}
    assert found["used calls, share"].n == 4
    assert measure_efficiency([])["calls per answer"] == (None, None, None, 0)


def test_costs_have_intervals_over_whole_episodes(make_trajectory):
    last = Turn(text="x", action=FinalAnswer(text="7"), num_tokens=4)
    rows = [make_trajectory(turns=(*[call("a")] * n, last)) for n in (0, 1, 2, 3)]
    found = measure_efficiency(rows)["calls per answer"]
    assert found.mean == 1.5
    assert 0 <= found.low < 1.5 < found.high <= 3
    right = rows[1].model_copy(update={"verdict": Verdict.CORRECT})
    wrong = rows[1].model_copy(update={"verdict": Verdict.INCORRECT})
    found = measure_efficiency([right, wrong, wrong])["calls per right answer"]
    assert (found.mean, found.high, found.n) == (3, float("inf"), 1)
    assert 0 < found.low <= 3
