"""The rule for mathematics: words, numbers, structure, and Math-Verify for the rest."""

import re

from agentic_vlm.grading.findings import Finding, Reference, best_of, decide, doubt
from agentic_vlm.grading.latex import spell_out, split_top_level, split_unit, squeeze
from agentic_vlm.grading.math_pool import Equality, shared_pool
from agentic_vlm.grading.phrases import grade_text
from agentic_vlm.grading.quantities import parse_number
from agentic_vlm.grading.texts import last_box, strip_lead_in
from agentic_vlm.params import GradingParams

_MAX_CHARS = 1000
# Items are compared pairwise, and each level of brackets is a level of recursion.
_MAX_ITEMS = 16
_MAX_DEPTH = 12
_ALTERNATIVES = re.compile(r"\bor\b|%")
_BRACKETED = re.compile(r"(\\\{|[(\[])(.*)(\\\}|[)\]])", re.DOTALL)
_RELATION = re.compile(r"[<>]|\\(?:le|ge|leq|geq|lt|gt|neq|ne)(?![A-Za-z])")
_INTERVAL = re.compile(r"[(\[].*,.*[)\]]")
_VARIABLE = re.compile(r"[A-Za-z](?:_\{?\w{1,3}\}?)?")
_LETTERS_LEFT = re.compile(r"(?<!\\)(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_PLUS_MINUS = "\\pm"


class Clock:
    """The CPU time that one verdict may still take in the pool."""

    def __init__(self, params: GradingParams) -> None:
        """Begin with all of it."""
        self.params = params
        self.left_s = params.math_timeout_s


def grade_math(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Mathematics: equal as words, numbers, or symbolically."""
    if last_box(answer) == "":
        return decide(False, "an empty box")
    clock = Clock(params)
    return best_of([_grade_one(answer, text, clock) for text in reference.texts])


def _grade_one(answer: str, wanted: str, clock: Clock) -> Finding:
    if len(answer) > _MAX_CHARS or len(wanted) > _MAX_CHARS:
        return doubt("too long for a symbolic comparison")
    given, expected = strip_lead_in(answer), strip_lead_in(wanted)
    if squeeze(given) == squeeze(expected):
        return decide(True, "the same but for its layout")
    # Math-Verify takes the last number of "13 or 14", and reads 36% as 36 and as 0.36.
    if _ALTERNATIVES.search(answer) and not _ALTERNATIVES.search(wanted):
        return doubt("gives alternatives or a percentage")
    number, right = parse_number(given), parse_number(expected)
    if number is not None and right is not None and "frac" not in given + expected:
        return decide(number == right, f"the number {number}"[:80])
    if is_words(given) or is_words(expected):
        return grade_text(given, Reference(expected), clock.params)
    given, unit = split_unit(_with_currency(given, answer))
    expected, wanted_unit = split_unit(_with_currency(expected, wanted))
    finding = _compare(given, expected, clock)
    if unit and wanted_unit and unit != wanted_unit and finding.verdict.value == "correct":
        return doubt(f"unit {unit}, not {wanted_unit}")
    return finding


def _with_currency(short: str, text: str) -> str:
    # Dollars around a formula are none; a lone one before a number is money.
    stripped = text.strip()
    return "$" + short if re.match(r"\\?\$[-+]?[0-9.,]+$", stripped) else short


def _compare(given: str, expected: str, clock: Clock) -> Finding:
    """Compare two expressions without units."""
    number, right = parse_number(given), parse_number(expected)
    if number is not None and right is not None and number == right:
        return decide(True, f"the number {number}"[:80])
    for compare in (_relations, _signs, _ratios, _equations, _collections):
        finding = compare(given, expected, clock)
        if finding is not None:
            return finding
    return symbolic(given, expected, clock)


def symbolic(given: str, expected: str, clock: Clock) -> Finding:
    """Ask Math-Verify, in its own process."""
    equality, cpu_s = shared_pool().compare(expected, given, timeout_s=clock.left_s)
    clock.left_s -= cpu_s
    if equality is Equality.UNKNOWN:
        return doubt("no symbolic verdict in time")
    if equality is Equality.NEAR:
        return doubt("equal to many figures, and not exactly")
    is_equal = equality is Equality.EQUAL
    return decide(is_equal, "symbolically equal" if is_equal else "symbolically different")


def _relations(given: str, expected: str, clock: Clock) -> Finding | None:
    sides = [bool(_RELATION.search(spell_out(text))) for text in (given, expected)]
    if not any(sides):
        return None
    if all(sides):
        return symbolic(given, expected, clock)
    other = expected if sides[0] else given
    if _INTERVAL.search(other):
        return doubt("an inequality and an interval")
    return decide(False, "one is an inequality, the other is not")


def _signs(given: str, expected: str, clock: Clock) -> Finding | None:
    sides = [_PLUS_MINUS in spell_out(text) for text in (given, expected)]
    if not any(sides):
        return None
    if not all(sides):
        is_list = len(split_top_level(expected if sides[0] else given)) > 1
        return doubt("two signs and a list") if is_list else decide(False, "one of two signs only")
    bare = [spell_out(text).replace(_PLUS_MINUS, " ") for text in (given, expected)]
    return _compare(bare[0], bare[1], clock)


def _ratios(given: str, expected: str, clock: Clock) -> Finding | None:
    sides = [":" in text for text in (given, expected)]
    if not any(sides):
        return None
    parts = [text.replace(":", "/") for text in (given, expected)]
    finding = symbolic(parts[0], parts[1], clock)
    if finding.verdict.value == "correct":
        return doubt("an equal ratio, written otherwise")
    return finding


def _equations(given: str, expected: str, clock: Clock) -> Finding | None:
    has = [text.count("=") for text in (given, expected)]
    if not any(has):
        return None
    left, value = _split_equation(given)
    wanted_left, wanted_value = _split_equation(expected)
    if all(has):
        finding = _compare(value, wanted_value, clock)
        is_named = bool(_VARIABLE.fullmatch(left) and _VARIABLE.fullmatch(wanted_left))
        if left != wanted_left and finding.verdict.value == "correct":
            is_same = not is_named and symbolic(left, wanted_left, clock)
            if not is_same or is_same.verdict.value != "correct":
                return doubt("another name before the equals sign")
        return finding if left == wanted_left or is_named else symbolic(given, expected, clock)
    finding = _compare(value, wanted_value, clock)
    name = left if has[0] else wanted_left
    # "2x = 5" does not say 5; "x = 5" and "3 + 2 = 5" do.
    if _VARIABLE.fullmatch(name) or not _LETTERS_LEFT.search(name):
        return finding
    return doubt("an equation for a value") if finding.verdict.value == "correct" else finding


def _split_equation(text: str) -> tuple[str, str]:
    left, _, value = text.rpartition("=")
    return left.strip(), value.strip()


def _collections(given: str, expected: str, clock: Clock) -> Finding | None:
    """Compare points, intervals, sets and bare lists item by item."""
    if max(map(_depth, (given, expected))) > _MAX_DEPTH:
        return doubt("brackets within brackets")
    kinds = [_kind_of(text) for text in (given, expected)]
    if all(len(items) < 2 for _, items in kinds):
        return None
    (kind, items), (wanted_kind, wanted) = kinds
    if max(len(items), len(wanted)) > _MAX_ITEMS:
        return doubt("too many items")
    if len(items) != len(wanted):
        return decide(False, "another number of items")
    is_set = "{" in kind + wanted_kind
    ends = "([" if "(" in kind + wanted_kind or "[" in kind + wanted_kind else ""
    if kind != wanted_kind and not ends and is_set:
        kind = wanted_kind
    verdicts = _match_items(items, wanted, clock, in_order=not is_set)
    if kind == wanted_kind or verdicts.verdict.value == "incorrect":
        return verdicts
    if kind and wanted_kind and not is_set:
        return decide(False, "other ends of the interval")
    return doubt("the same items in other brackets")


def _kind_of(text: str) -> tuple[str, list[str]]:
    text = spell_out(text)
    match = _BRACKETED.fullmatch(text)
    if match and _is_one_pair(text):
        return f"{match[1]}{match[3]}".replace("\\", ""), split_top_level(match[2])
    return "", split_top_level(text)


def _depth(text: str) -> int:
    """Return how many brackets are open at most."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _is_one_pair(text: str) -> bool:
    """Whether the first bracket is closed by the last sign: not so in `(1,2),(3,4)`."""
    depth = 0
    body = text.replace("\\{", "{").replace("\\}", "}")
    for index, sign in enumerate(body):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0:
            return index == len(body) - 1
    return False


def _match_items(items: list[str], wanted: list[str], clock: Clock, *, in_order: bool) -> Finding:
    left = list(items)
    for index, one in enumerate(wanted):
        candidates = [left[index]] if in_order else left
        findings = [_compare(item, one, clock) for item in candidates]
        best = best_of(findings) if findings else decide(False, "an item is missing")
        if best.verdict.value != "correct":
            return best
        if not in_order:
            left.pop(findings.index(best))
    return decide(True, "the same items")


def is_words(text: str) -> bool:
    """Return whether a text is words, not mathematics: no digit, operator, command or variable."""
    return not re.search(r"[0-9\\=^+*/<>{}$|\u221a\u03c0]", text) and bool(re.search(r"\w\w", text))
