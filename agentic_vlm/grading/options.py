"""Rules for options: a letter, the text of an option, several letters."""

import re
import unicodedata

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.grading.phrases import grade_text
from agentic_vlm.grading.quantities import parse_number, read_numbers
from agentic_vlm.grading.texts import contains_words, is_hedged, strip_lead_in, text_words
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import Verdict

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Longer answers reason about the options; a reader must say which one they end with.
_MAX_OPTION_WORDS = 30
_OPTION = re.compile(r"\s*[(\[]?\s*(?:option\s+|choice\s+)?([A-Za-z])\s*[)\].:]?\s*", re.IGNORECASE)
_LEADING_OPTION = re.compile(
    r"\s*(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[).:]|([A-Z])(?=\s*\n)|([a-z])\))\s+\S"
)
_LETTER_BREAK = re.compile(r"\s*(?:[,;&]|\band\b|\s)\s*")


def grade_choice(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """One option, named by its letter or by its text."""
    wanted = {letter for letter in map(option_letter, reference.texts) if letter}
    given = option_letter(answer)
    named = options_named(answer, reference.options)
    if given:
        return _decide_letters({given} | named, wanted)
    if len(named) == 1 and not is_hedged(text_words(answer), besides=_all_words(reference)):
        return _decide_letters(named, wanted)
    if named:
        return doubt("names options by their texts among other words")
    by_text = grade_text(answer, reference, params)
    if by_text.verdict is Verdict.CORRECT:
        return by_text
    letters = set(re.findall(r"(?<![\w'])([A-Z])(?![\w'])", answer))
    if letters & wanted:
        return doubt("names the option among other words")
    if letters - {"A", "I"}:
        return decide(False, "names other options only")
    return doubt("names no option")


def grade_option(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """The reference is the text of an option; letter and text may both name it."""
    wanted = _letter_of_text(reference)
    if wanted is None:
        return grade_text(answer, reference, params)
    bare = strip_lead_in(answer)
    if any(re.fullmatch(r"\(?[A-Za-z]\)?", text.strip()) for text in reference.options):
        return doubt("the texts of the options are letters themselves")
    if re.search(r"[0-9]", bare) and not options_named(bare, reference.options):
        value = parse_number(bare)
        numbers = [read_numbers(text).possible for text in reference.options]
        if value is not None and any(value in possible for possible in numbers):
            return doubt("the number of an option without its unit")
    first_word = text_words(bare)[:1]
    texts = [text_words(text) for text in reference.options]
    if first_word in texts and first_word[0] in ("yes", "no"):
        return decide(LETTERS[texts.index(first_word)] == wanted, f"says {first_word[0]}")
    by_letter = Reference(wanted, options=reference.options)
    return grade_choice(answer, by_letter, params)


def grade_letters(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Several letters in any order; all of them, and no other."""
    if re.search(r"\b(?:or|not)\b", answer, re.IGNORECASE):
        return doubt("gives alternatives or a negation")
    wanted = [letters for letters in map(read_letters, reference.texts) if letters]
    given = read_letters(answer)
    if given is None or not wanted:
        return doubt("names no letters alone")
    return decide(given in wanted, "letters " + "".join(sorted(given)))


def option_letter(text: str) -> str | None:
    """Return the one option that a text names at its beginning, else None."""
    short = strip_lead_in(unicodedata.normalize("NFKC", text))
    if whole := _OPTION.fullmatch(short):
        return whole[1].upper()
    leading = _LEADING_OPTION.match(short)
    if leading is None:
        return None
    letter = next(group for group in leading.groups() if group).upper()
    others = set(re.findall(r"(?<![\w'])([B-HJ-Z])(?![\w'])", short)) - {letter}
    return None if others else letter


def options_named(answer: str, options: tuple[str, ...]) -> set[str]:
    """Return the letters of the options whose texts an answer holds.

    Of options that contain each other, only the longest counts.

    >>> options_named("It is dark blue.", ("blue", "dark blue"))
    {'B'}
    """
    words = text_words(strip_lead_in(answer))
    if len(words) > _MAX_OPTION_WORDS + sum(len(text.split()) for text in options):
        return set()
    number = parse_number(strip_lead_in(answer))
    texts = dict(zip(LETTERS, map(text_words, options), strict=False))
    for letter, text in zip(LETTERS, options, strict=False):
        is_same_number = number is not None and parse_number(text) == number
        if words and (words == texts[letter] or is_same_number):
            return {letter}
    found = {letter: part for letter, part in texts.items() if contains_words(words, part)}
    return {
        letter
        for letter, part in found.items()
        if not any(part != other and contains_words(other, part) for other in found.values())
    }


def read_letters(text: str) -> frozenset[str] | None:
    """Return the set of option letters that a text consists of, else None.

    >>> sorted(read_letters("The answers are A and C.") or ())
    ['A', 'C']
    """
    short = strip_lead_in(unicodedata.normalize("NFKC", text))
    short = short.translate(str.maketrans("()[]", "    ")).strip()
    if re.fullmatch(r"[A-Z]{2,8}", short):
        return frozenset(short)
    parts = [part for part in _LETTER_BREAK.split(short) if part]
    if parts and all(re.fullmatch(r"[A-Za-z]", part) for part in parts):
        return frozenset(part.upper() for part in parts)
    return None


def _decide_letters(given: set[str], wanted: set[str]) -> Finding:
    names = " and ".join(sorted(given))
    if given <= wanted or not given & wanted:
        return decide(bool(given & wanted), f"option {names}")
    return doubt(f"names {names}, which contradict each other")


def _letter_of_text(reference: Reference) -> str | None:
    texts = [text_words(text) for text in reference.options]
    words = text_words(reference.answer)
    return LETTERS[texts.index(words)] if words in texts[: len(LETTERS)] else None


def _all_words(reference: Reference) -> list[str]:
    return [word for text in reference.options for word in text_words(text)]
