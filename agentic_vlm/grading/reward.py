"""The reward of an episode: accuracy and format, part by part."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from agentic_vlm.grading.extract import extract_answer
from agentic_vlm.schema import Verdict

# Deviation: `integration` is a family of the pocket world that searches as `search` does; the paper
# has no such family, so only the balance of its tags is checked, and neither length nor cost.
_SEARCHING_FAMILIES = frozenset({"search", "integration"})
_COSTLY_SEARCH_FAMILIES = frozenset({"search"})
_LENGTH_LIMITED_FAMILIES = frozenset({"perception", "search"})


class RewardWeights(Protocol):
    """What the reward needs of the params of RL."""

    @property
    def accuracy_weight(self) -> float:
        """Weight of the accuracy part. Paper: 0.8."""

    @property
    def format_weight(self) -> float:
        """Weight of the format part. Paper: 0.2."""

    @property
    def search_penalty(self) -> float:
        """Share of accuracy lost in the search family if any search was made. Paper: 0.1."""

    @property
    def max_answer_chars(self) -> int:
        """Answers this long or longer get nothing in perception and search. Paper: 300."""

    @property
    def efficiency_weight(self) -> float:
        """Reward lost per tool call of a correct episode. Paper: 0."""

    @property
    def tool_bonus(self) -> float:
        """Reward added to a correct episode that called a tool. Paper: 0; DeepEyes-v1: above 0."""


class RewardParts(NamedTuple):
    """A reward and what it is made of."""

    accuracy: float | None
    """0 to 1 before weighting; absent where the answer is ungraded."""
    format: float
    """0 or 1 before weighting."""
    efficiency: float
    """What tool calls cost, at most 0; 0 where the option is off or the answer is not correct."""
    tool_bonus: float
    """What tool use earned; 0 where the option is off or the answer is not correct."""
    total: float | None
    """Weighted sum; absent where the answer is ungraded."""


def _is_too_long(text: str, family: str, max_answer_chars: int) -> bool:
    return family in _LENGTH_LIMITED_FAMILIES and len(text) >= max_answer_chars


def format_reward(turn_texts: Sequence[str], family: str, max_answer_chars: int) -> float:
    """Return 1 where the policy kept to the protocol, else 0.

    Source: reward_score/deepeyesv2.py of the release. Deviation: only what the policy wrote is
    looked at, and its pre-fills; the release counts tags in tool output as well.

    Args:
        turn_texts: the text of each turn, with the pre-fill of that turn.
        family: family of the sample.
        max_answer_chars: length from which an answer of perception or search is refused.

    >>> format_reward(["<think>a</think><code>1</code>", "<think>b</think><answer>4</answer>"],
    ...               "reasoning", 300)
    1.0
    """
    text = "".join(turn_texts)
    # The release prepends the tag where the first turn lacks it.
    text = text if text.startswith("<think>") else f"<think>{text}"
    paired = ["think", "code"] + ["tool_call"] * (family in _SEARCHING_FAMILIES)
    if any(text.count(f"<{tag}>") != text.count(f"</{tag}>") for tag in paired):
        return 0.0
    _, end_of_thought, reply = text.rpartition("</think>")
    if not end_of_thought or reply.count("<answer>") != reply.count("</answer>"):
        return 0.0
    answer = extract_answer(reply, allow_plain=False)
    return float(answer is not None and not _is_too_long(answer, family, max_answer_chars))


def accuracy_reward(
    verdict: Verdict,
    *,
    answer: str | None,
    family: str,
    num_search_calls: int,
    search_penalty: float,
    max_answer_chars: int,
) -> float | None:
    """Return the accuracy part before weighting; None where the answer is ungraded.

    A long answer of perception or search is worth nothing, whatever the verdict: it may be talking
    a judge over. In the search family the first search costs a share, further ones nothing.
    """
    if answer is None or _is_too_long(answer, family, max_answer_chars):
        return 0.0
    if verdict is Verdict.UNGRADED:
        return None
    has_cost = family in _COSTLY_SEARCH_FAMILIES and num_search_calls > 0
    return float(verdict is Verdict.CORRECT) * (1.0 - search_penalty * has_cost)


def compute_reward(
    turn_texts: Sequence[str],
    *,
    verdict: Verdict,
    answer: str | None,
    family: str,
    num_calls: int,
    num_search_calls: int,
    weights: RewardWeights,
) -> RewardParts:
    """Return the reward of an episode that ended by its own doing.

    Args:
        turn_texts: the text of each turn, with the pre-fill of that turn.
        verdict: verdict on the answer.
        answer: the extracted answer; None where there is none.
        family: family of the sample.
        num_calls: tool calls made, failed ones included.
        num_search_calls: those of them that asked a search tool.
        weights: the params of RL.
    """
    style = format_reward(turn_texts, family, weights.max_answer_chars)
    accuracy = accuracy_reward(
        verdict,
        answer=answer,
        family=family,
        num_search_calls=num_search_calls,
        search_penalty=weights.search_penalty,
        max_answer_chars=weights.max_answer_chars,
    )
    if accuracy is None:
        return RewardParts(None, style, 0.0, 0.0, None)
    earned = weights.accuracy_weight * accuracy
    # Calls may eat up what being right earned, never more: a wrong answer must not pay better.
    efficiency = -min(earned, weights.efficiency_weight * num_calls)
    bonus = weights.tool_bonus if accuracy > 0 and num_calls > 0 else 0.0
    total = earned + weights.format_weight * style + efficiency + bonus
    return RewardParts(accuracy, style, efficiency, bonus, total)
