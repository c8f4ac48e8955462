"""Is this answer right, and what is it worth? One answer for probe, selection, RL, evaluation."""

from agentic_vlm.grading.extract import extract_answer
from agentic_vlm.grading.findings import Grade, Reference
from agentic_vlm.grading.judge import Judge, NoJudge, grade_with_judge
from agentic_vlm.grading.judges import JudgeBudget, JudgeCounts, ModelJudge, open_judge
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
    "Defect",
    "Gradable",
    "Grade",
    "Judge",
    "JudgeBudget",
    "JudgeCounts",
    "Mode",
    "ModelJudge",
    "NoJudge",
    "Reference",
    "RewardParts",
    "RewardWeights",
    "Rule",
    "accuracy_reward",
    "compute_reward",
    "extract_answer",
    "format_reward",
    "grade_answer",
    "grade_by_rule",
    "grade_with_judge",
    "guess_answer_type",
    "open_judge",
]
