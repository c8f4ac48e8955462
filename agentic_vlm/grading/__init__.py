"""Is this answer right, and what is it worth? One answer for probe, selection, RL, evaluation.

Models as judges are in `grading.judges`: they need the backends, and the rules need none.
"""

from agentic_vlm.grading.attempt import Attempt
from agentic_vlm.grading.extract import extract_answer, extract_as_released
from agentic_vlm.grading.findings import Grade, Reference
from agentic_vlm.grading.judge import (
    Judge,
    NoJudge,
    grade_with_judge,
    settle,
    settle_attempt,
)
from agentic_vlm.grading.modes import DEFECTS, Defect, Mode
from agentic_vlm.grading.reward import (
    RewardParts,
    RewardWeights,
    accuracy_reward,
    compute_reward,
    format_reward,
)
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.grading.rules import (
    Gradable,
    grade_answer,
    grade_by_rule,
    guess_answer_type,
)

__all__ = [
    "DEFECTS",
    "Attempt",
    "Defect",
    "Gradable",
    "Grade",
    "Judge",
    "Mode",
    "NoJudge",
    "Reference",
    "RewardParts",
    "RewardWeights",
    "Rule",
    "accuracy_reward",
    "compute_reward",
    "extract_answer",
    "extract_as_released",
    "format_reward",
    "grade_answer",
    "grade_by_rule",
    "grade_with_judge",
    "guess_answer_type",
    "settle",
    "settle_attempt",
]
