"""Matching as the evaluation kits do it, shared by the modes `official` and `paper`.

Sources: VLMEvalKit e8e78f0 (`matching_util.py`, `multiple_choice.py`, `vqa_eval.py`), lmms-eval
75571cf. Only the behaviour is taken over: nothing here changes its arguments or evaluates text.
"""

import ast
import operator
import re
import string
from collections.abc import Sequence

_PADDED = str.maketrans(".()[],:;!*#{}", " " * 13)
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_UNREAD = "Z"
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
    "Answer:",
    "Option:",
)
# Python joins the neighbours of a missing comma.
_PREFIXES_WITHOUT_COMMAS = (
    *_PREFIXES[:4],
    "The best option isThe correct option is",
    "Best answer:Best option:",
    *_PREFIXES[8:],
)
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_EXPRESSION = 200
_ARITHMETIC = re.compile(r"[-+*/().0-9eE ]*")


def infer_option(answer: str, options: Sequence[str | None]) -> str | None:
    """Return the option letter that the kit reads, `Z` for a refusal, None where it asks a model.

    Args:
        answer: what the model said.
        options: texts of A, B, C, ...; an entry is None where the kit lost the option.
    """
    letters = [
        letter
        for letter, text in zip(string.ascii_uppercase, options, strict=False)
        if text is not None
    ]
    return _infer_letter(answer, letters) or _infer_text(answer, options)


def _infer_letter(answer: str, letters: Sequence[str]) -> str | None:
    if any(refusal in answer for refusal in _REFUSALS):
        return _UNREAD
    words = answer.translate(_PADDED).split()
    found = [letter for letter in letters if letter in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - 5:
        return found[0]
    return _UNREAD if not found and _UNREAD in words else None


def _infer_text(answer: str, options: Sequence[str | None]) -> str | None:
    lowered = answer.lower()
    texts = {
        letter: text.lower()
        for letter, text in zip(string.ascii_uppercase, options, strict=False)
        if text is not None
    }
    if len(lowered) > 2 * sum(map(len, texts.values())):
        return None
    found = [letter for letter, text in texts.items() if text in lowered]
    return found[0] if len(found) == 1 else None


def first_letter(answer: str, *, has_commas: bool) -> str:
    """Return the letter that MME-RealWorld's parser reads: the first capital from A to E.

    >>> first_letter("Best answer: A", has_commas=True), first_letter("Dog", has_commas=True)
    ('A', 'D')
    """
    text = answer.strip()
    for prefix in _PREFIXES if has_commas else _PREFIXES_WITHOUT_COMMAS:
        text = text.replace(prefix, "")
    found = re.search("[ABCDE]", text)
    if found:
        return found[0]
    if len(text.split()) > 10:
        return ""
    return next((letter for letter in "ABCDE" if text.lower() in f"({letter.lower()})"), "")


def relaxed_correctness(prediction: str, target: str) -> bool:
    """Return ChartQA's relaxed accuracy as the kits compute it, in binary arithmetic."""
    number, wanted = _to_float(prediction), _to_float(target)
    if number is None or not wanted:
        return prediction.lower() == target.lower()
    return abs(number - wanted) / abs(wanted) <= 0.05


def _to_float(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def to_number(text: str) -> float | None:
    """Return what `float` makes of a text; None where it refuses."""
    try:
        return float(text)
    except ValueError:
        return None


def edit_distance(left: str, right: str) -> int:
    """Return Levenshtein's distance.

    >>> edit_distance("reddish", "red")
    4
    """
    row = list(range(len(right) + 1))
    for i, sign in enumerate(left, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(right, start=1):
            cost = min(row[j] + 1, row[j - 1] + 1, previous + (sign != other))
            previous, row[j] = row[j], cost
    return row[-1]


def normalize_answer(text: str) -> str:
    """Return a text as exact match and token F1 compare it: SQuAD's normalisation.

    >>> normalize_answer("The Eiffel Tower!")
    'eiffel tower'
    """
    text = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def calculate(text: str) -> float | None:
    """Return the value of plain arithmetic; None for anything else. Nothing is executed.

    >>> calculate("(1+2)/4"), calculate("sqrt(2)")
    (0.75, None)
    """
    if len(text) > _MAX_EXPRESSION or not _ARITHMETIC.fullmatch(text):
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (ArithmeticError, SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return float(_value(left) ** _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return float(_OPERATORS[type(op)](_value(left), _value(right)))
    raise ValueError("not plain arithmetic")
