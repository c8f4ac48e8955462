"""Models as judges: prompts with versions, cached verdicts, a budget, any server or local model."""

from agentic_vlm.grading.judges.budget import JudgeBudget, JudgeCounts
from agentic_vlm.grading.judges.build import open_judge
from agentic_vlm.grading.judges.model import ModelJudge

__all__ = ["JudgeBudget", "JudgeCounts", "ModelJudge", "open_judge"]
