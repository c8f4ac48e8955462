"""How the reply of a judge of three values is read; the prompt is a file too."""

from agentic_vlm.grading.attempt import Attempt
from agentic_vlm.grading.judges.rubric import read_only_object
from agentic_vlm.schema import Verdict

PROMPT = "attempt_v1"
"""Name of the prompt file. Source of its rules: SimpleVQA's judge (arXiv 2502.13059), in our words
and for one answer per request."""
FOLDER = "prompts/benchmarks"
_KEY = "grade"
_GRADES = {
    "CORRECT": Attempt.CORRECT,
    "INCORRECT": Attempt.INCORRECT,
    "NOT_ATTEMPTED": Attempt.NOT_ATTEMPTED,
}


def parse_attempt_reply(text: str, *, is_cut: bool) -> Attempt | None:
    """Return the grade of a reply; None where it is not the one JSON object that was asked for.

    The authors' parser makes "not attempted" of whatever it cannot read, and so shrinks the number
    that accuracy is a share of.

    >>> parse_attempt_reply('{"grade": "NOT_ATTEMPTED"}', is_cut=False)
    <Attempt.NOT_ATTEMPTED: 'not_attempted'>
    >>> parse_attempt_reply("NOT_ATTEMPTED", is_cut=False) is None
    True
    """
    content = read_only_object(text, is_cut=is_cut)
    if content is None or set(content) != {_KEY}:
        return None
    grade = content[_KEY]
    return _GRADES.get(grade) if isinstance(grade, str) else None


def verdict_of_reply(text: str, *, is_cut: bool) -> Verdict | None:
    """Return the verdict that the grade of a reply amounts to; None as above."""
    attempt = parse_attempt_reply(text, is_cut=is_cut)
    return None if attempt is None else attempt.verdict
