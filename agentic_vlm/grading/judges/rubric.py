"""What a judge is asked by a benchmark's own rubric, and how its JSON reply is read."""

import json
import re
from collections.abc import Sequence

from agentic_vlm.grading.judge import JudgedAnswer
from agentic_vlm.schema import Verdict

PLACE = "{PREDICTION}"
"""Where a rubric wants the answer."""
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL | re.IGNORECASE)
_LONE_BACKSLASH = re.compile(r"\\(?![\"\\/bfnrt]|u[0-9a-fA-F]{4})")
_ANSWER_KEYS = ("extracted_answer", "extract_answer")
_SCORES = {0: Verdict.INCORRECT, 1: Verdict.CORRECT}


def fill_rubric(rubric: str, answer: str) -> str:
    r"""Return the message to the judge; the answer goes in as a JSON text, which cannot leave it.

    >>> fill_rubric("Response: {PREDICTION}", 'red"}')
    'Response: "red\\"}"'
    """
    before, _, after = rubric.rpartition(PLACE)
    shown = json.dumps(answer, ensure_ascii=False)
    return f"{before}{shown}{after}".encode("utf-8", "replace").decode()


def parse_rubric_reply(text: str, *, is_cut: bool) -> Verdict | None:
    r"""Return the verdict of a reply; None where it is not the one JSON object that was asked for.

    The benchmark's two issues name the answer `extract_answer` and `extracted_answer`: a parser of
    one of them fails every reply to the other. A code fence around the object does not matter.

    >>> parse_rubric_reply('```json\n{"extracted_answer": "3", "score": 1}\n```', is_cut=False)
    <Verdict.CORRECT: 'correct'>
    >>> parse_rubric_reply('{"score": 1}', is_cut=False) is None
    True
    """
    content = read_only_object(text, is_cut=is_cut)
    if content is None or not any(key in content for key in _ANSWER_KEYS):
        return None
    return _read_score(content.get("score"))


def fill_group(rubric: str, answers: Sequence[JudgedAnswer]) -> str:
    r"""Return the message to the judge about several answers, all of them as JSON texts.

    >>> print(fill_group("Score each.", [JudgedAnswer("How many?", "6", ("six",))]))
    Score each.
    <BLANKLINE>
    T1
    Question: "How many?"
    Reference: "six"
    Response: "6"
    <BLANKLINE>
    Keys of the object: "extracted_answer_T1", "score_T1"
    """
    shown = []
    for place, one in enumerate(answers, start=1):
        reference = one.references[0] if len(one.references) == 1 else list(one.references)
        fields = {"Question": one.question, "Reference": reference, "Response": one.answer}
        lines = (f"{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in fields.items())
        shown.append("\n".join([f"T{place}", *lines]))
    names = ", ".join(
        f'"{_ANSWER_KEYS[0]}_T{place}", "score_T{place}"' for place in range(1, len(answers) + 1)
    )
    parts = [rubric, *shown, f"Keys of the object: {names}"]
    return "\n\n".join(parts).encode("utf-8", "replace").decode()


def parse_group_reply(text: str, *, is_cut: bool, num_answers: int) -> tuple[Verdict, ...] | None:
    """Return the verdicts of a reply about several answers; None where it tells not all of them.

    The keys must be those of all answers and no other: a reply that leaves one out, or tells of one
    too many, may have mixed them up.

    >>> reply = '{"extracted_answer_T1": "3", "score_T1": 1}'
    >>> parse_group_reply(reply, is_cut=False, num_answers=1)
    (<Verdict.CORRECT: 'correct'>,)
    >>> parse_group_reply(reply, is_cut=False, num_answers=2) is None
    True
    """
    content = read_only_object(text, is_cut=is_cut)
    places = range(1, num_answers + 1)
    known = [
        {f"{key}_T{place}" for place in places} | {f"score_T{place}" for place in places}
        for key in _ANSWER_KEYS
    ]
    if content is None or set(content) not in known:
        return None
    verdicts = [_read_score(content[f"score_T{place}"]) for place in places]
    found = tuple(verdict for verdict in verdicts if verdict is not None)
    return found if len(found) == num_answers else None


def read_only_object(text: str, *, is_cut: bool) -> dict[str, object] | None:
    """Return the JSON object that a reply consists of, in a code fence or not; None if it does not.

    What stands in a thought before it does not matter.
    """
    reply = text.rpartition("</think>")[2].strip()
    if is_cut or "<think>" in reply:
        return None
    fenced = _FENCED.fullmatch(reply)
    return _read_object(fenced[1] if fenced else reply)


def _read_score(score: object) -> Verdict | None:
    if isinstance(score, str) and score.strip() in ("0", "1"):
        score = int(score)
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return next((verdict for known, verdict in _SCORES.items() if score == known), None)


def _read_object(text: str) -> dict[str, object] | None:
    # LaTeX in the answer breaks the JSON, and only the score matters.
    for attempt in (text, _LONE_BACKSLASH.sub(r"\\\\", text)):
        try:
            content = json.loads(attempt, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            continue
        return content if isinstance(content, dict) else None
    return None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object; a key that is told twice, such as two scores, is none."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content
