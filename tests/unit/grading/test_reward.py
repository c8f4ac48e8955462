"""The reward and its parts."""

from dataclasses import dataclass

import pytest

from agentic_vlm.grading import RewardParts, compute_reward, format_reward
from agentic_vlm.params import TrainRlParams
from agentic_vlm.schema import Verdict

GOOD = ["<think>a</think><answer>4</answer>"]


@dataclass(frozen=True)
class Weights:
    accuracy_weight: float = 0.8
    format_weight: float = 0.2
    search_penalty: float = 0.1
    max_answer_chars: int = 300
    efficiency_weight: float = 0.0
    tool_bonus: float = 0.0


def reward(
    verdict: Verdict = Verdict.CORRECT,
    *,
    answer: str | None = "4",
    family: str = "reasoning",
    num_calls: int = 0,
    num_search_calls: int = 0,
    weights: Weights | TrainRlParams = Weights(),
) -> RewardParts:
    texts = [f"<think>a</think><answer>{answer or ''}</answer>"]
    return compute_reward(
        texts,
        verdict=verdict,
        answer=answer,
        family=family,
        num_calls=num_calls,
        num_search_calls=num_search_calls,
        weights=weights,
    )


@pytest.mark.parametrize(
    "texts",
    [
        GOOD,
        ["a</think><answer>4</answer>"],
        ["<think>a</think><code>1</code>", "<think>b</think><answer>4</answer>"],
        ["<think><answer></think><answer>4</answer>"],
    ],
)
def test_kept_format_is_worth_one(texts: list[str]) -> None:
    assert format_reward(texts, "reasoning", 300) == 1.0


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["<answer>4</answer>"],
        ["<think>a</think>4"],
        ["<think>a</think><answer> </answer>"],
        ["<think>a</think><answer>4"],
        ["<think>a<think>b</think><answer>4</answer>"],
        ["<think>a</think><code>1", "<think>b</think><answer>4</answer>"],
        ["<think>a</think><answer>4</answer></think>"],
    ],
)
def test_broken_format_is_worth_nothing(texts: list[str]) -> None:
    assert format_reward(texts, "reasoning", 300) == 0.0


@pytest.mark.parametrize(("family", "worth"), [("search", 0.0), ("reasoning", 1.0)])
def test_call_tags_are_counted_where_one_searches(family: str, worth: float) -> None:
    texts = ["<think>a</think><tool_call>{}", "<think>b</think><answer>4</answer>"]
    assert format_reward(texts, family, 300) == worth


def test_a_right_answer_in_good_format_is_worth_one() -> None:
    assert reward() == pytest.approx((1.0, 1.0, 0.0, 0.0, 1.0))


def test_a_wrong_answer_in_good_format_is_worth_its_format() -> None:
    assert reward(Verdict.INCORRECT).total == pytest.approx(0.2)


def test_the_first_search_costs_a_tenth_and_the_second_nothing() -> None:
    totals = [reward(family="search", num_search_calls=number).total for number in (0, 1, 2)]
    assert totals == pytest.approx([1.0, 0.92, 0.92])


def test_a_search_is_free_outside_the_search_family() -> None:
    assert reward(family="integration", num_search_calls=2).accuracy == 1.0


@pytest.mark.parametrize("family", ["perception", "search"])
@pytest.mark.parametrize(("length", "total"), [(299, 1.0), (300, 0.0)])
def test_a_long_answer_is_worth_nothing(family: str, length: int, total: float) -> None:
    assert reward(answer="x" * length, family=family).total == pytest.approx(total)


def test_a_long_answer_is_worth_nothing_even_ungraded() -> None:
    assert reward(Verdict.UNGRADED, answer="x" * 300, family="search").total == 0.0


def test_reasoning_has_no_length_rule() -> None:
    assert reward(answer="x" * 400).total == pytest.approx(1.0)


def test_an_ungraded_answer_has_no_reward() -> None:
    assert reward(Verdict.UNGRADED) == RewardParts(None, 1.0, 0.0, 0.0, None)


def test_no_answer_is_worth_nothing() -> None:
    assert reward(Verdict.INCORRECT, answer=None).total == 0.0


def test_calls_cost_only_where_the_answer_is_right_and_never_more_than_it_earned() -> None:
    weights = Weights(efficiency_weight=0.1)
    assert reward(num_calls=3, weights=weights).total == pytest.approx(0.7)
    assert reward(num_calls=30, weights=weights).total == pytest.approx(0.2)
    assert reward(Verdict.INCORRECT, num_calls=3, weights=weights).total == pytest.approx(0.2)


def test_the_tool_bonus_needs_a_right_answer_and_a_call() -> None:
    weights = Weights(tool_bonus=0.5)
    assert reward(num_calls=1, weights=weights).total == pytest.approx(1.5)
    assert reward(num_calls=0, weights=weights).total == pytest.approx(1.0)
    assert reward(Verdict.INCORRECT, num_calls=1, weights=weights).total == pytest.approx(0.2)


def test_the_params_of_rl_are_the_papers_weights() -> None:
    totals = reward(family="search", num_search_calls=1, weights=TrainRlParams())
    assert totals.total == pytest.approx(0.92)
