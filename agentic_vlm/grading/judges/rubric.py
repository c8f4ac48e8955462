"""What a judge is asked by a benchmark's own rubric, and how its JSON reply is read."""

import json
import re

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
    reply = text.rpartition("</think>")[2].strip()
    if is_cut or "<think>" in reply:
        return None
    fenced = _FENCED.fullmatch(reply)
    content = _read_object(fenced[1] if fenced else reply)
    if content is None or not any(key in content for key in _ANSWER_KEYS):
        return None
    score = content.get("score")
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
