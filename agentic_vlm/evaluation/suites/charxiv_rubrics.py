"""CharXiv's rubrics in our words, for files that bring none: what a judge is asked.

Source of the rules: arXiv 2406.18521, appendix on grading, and the constants of its repository.
"""

import json

from agentic_vlm.evaluation.suites.charxiv_questions import ask_descriptive
from agentic_vlm.evaluation.suites.item import fill_prompt

PREDICTION = "{PREDICTION}"
"""Where the answer goes."""
_SAME_TERM = (
    "Score 1 only if the answer and the reference name the same thing. Notation does not matter: "
    "alpha and its Greek letter, A^t_v and A_v^t, R^2_{a,b} and R^2_a,b are the same. Any other "
    "difference is score 0."
)
_NOT_APPLICABLE = (
    " Where the reference is Not Applicable, the answer must say that nothing applies; a guess or "
    "nought is score 0."
)
_SAME_NUMBER = "Score 1 only if both are numbers of exactly the same value, else 0."
_RULES = {
    "title": f"{_SAME_TERM} A leading letter such as (a) may be left out.{_NOT_APPLICABLE}",
    "text": f"{_SAME_TERM} Numbers must have exactly the same value: 1.0 and 1.00 are the same, "
    f"1.0 and 10 are not.{_NOT_APPLICABLE}",
    "number": f"{_SAME_NUMBER}{_NOT_APPLICABLE}",
    "yes or no": f"Score 1 only if both say the same, yes or no.{_NOT_APPLICABLE}",
    "list": f"{_SAME_TERM} All items must be there, in the same order.{_NOT_APPLICABLE}",
    "trend": "Score 1 only if both describe the same general trend in whatever words: moving up "
    "and then staying is increasing and then stabilizing. A part of the trend is score 0.",
    "layout": "Score 1 only if both give the same number of rows and of columns: 2 by 3 is not "
    "3 by 2.",
}
_KINDS = {
    1: "title", 2: "text", 3: "text", 4: "text", 5: "text", 6: "text", 7: "text", 8: "number",
    9: "number", 10: "number", 11: "yes or no", 12: "number", 13: "list", 14: "number",
    15: "number", 16: "trend", 17: "number", 18: "layout", 19: "number",
}  # fmt: skip
_VALUES = (
    "Score 1 only if both numbers have exactly the same value, however they are written: 0.01 and "
    "10^-2, 1500 and 1.5e3. A near value is score 0."
)
_REASONING = {
    1: f"{_SAME_TERM} Where the question asks for several, their order does not matter. ACC and "
    "ACC+ differ.",
    2: "Where the question names options, score 1 only if the answer is the option of the "
    "reference. Elsewhere score 1 if both mean the same: converging is moving closer together.",
    3: _VALUES,
    4: _VALUES,
}


def descriptive(number: int, *, question: str, answer: str) -> str:
    """Return what a judge is asked about an answer to a descriptive question, templates 1 to 19."""
    return _fill(_RULES[_KINDS[number]], question, answer)


def descriptive_group(number: int) -> str:
    """Return what a judge is asked about several answers to one descriptive template, 1 to 19.

    Source of the form: the authors' `descriptive_utils.py`, which asks about five at once.
    """
    return fill_prompt(
        "charxiv_rubric_group", rules=_RULES[_KINDS[number]], question=ask_descriptive(number, "")
    )


def reasoning(number: int, *, question: str, answer: str) -> str:
    """Return the same for a reasoning question, types 1 to 4."""
    return _fill(_REASONING[number], question, answer)


def _fill(rules: str, question: str, answer: str) -> str:
    return fill_prompt(
        "charxiv_rubric",
        rules=rules,
        question=json.dumps(question, ensure_ascii=False),
        reference=json.dumps(answer, ensure_ascii=False),
    )
