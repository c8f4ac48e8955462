"""Mathematics made comparable: what Math-Verify misreads is spelled out before it is asked."""

import re

from agentic_vlm.grading.texts import last_box

# Math-Verify reads what it does not know as a product of what is left: 3\u221a2 as 3, 2\u03c0 as 2.
_SYMBOLS = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u00d7": r"\times ",
        "\u00b7": r"\cdot ",
        "\u00f7": r"\div ",
        "\u03c0": r"\pi ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        "\u221e": r"\infty ",
        "\u2264": r"\le ",
        "\u2265": r"\ge ",
        "\u00b0": r"^\circ ",
        "\u00b1": r"\pm ",
        "$": " ",
    }
)
_ROOT = re.compile(r"(?:\u221a|(?<!\\)\bsqrt)\s*(?:\(([^()]*)\)|(\w+))")
_SCIENTIFIC = re.compile(r"\b([0-9]+(?:\.[0-9]+)?)[eE]([-+]?[0-9]{1,3})\b")
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_BARE_FRACTION = re.compile(r"\\[dt]?frac\s*([0-9])\s*([0-9])")
_BARE_ROOT = re.compile(r"\\sqrt\s*([0-9])")
_MIXED = re.compile(r"(?<![\w.}])([0-9]+)\s*\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_MIXED_SLASH = re.compile(r"(?<![\w.}])([0-9]+)\s+([0-9]+)/([0-9]+)(?![\w.])")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|\\,|\\ |~)(?=[0-9]{3}(?![0-9]))")
_COMMAS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_SPACING = re.compile(r"\\(?:left|right|displaystyle|,|;|!|:|quad|qquad)(?![A-Za-z])")
_UNIT_NAMES = (
    "cm mm km m dm kg g mg s min h hr hours hour minutes minute seconds second days day years "
    "year meters meter metres metre inches inch feet ft miles mile units unit square cubic "
    "degrees degree dollars dollar cents people trees L ml liters N J W V"
)
_UNIT = "|".join(sorted(_UNIT_NAMES.split(), key=len, reverse=True))
_UNITS = re.compile(
    rf"(?<=[0-9}})])\s*(?:\\[,;: ]|~)*\s*(?P<unit>(?:\\(?:text|mathrm|textrm)\s*\{{[^{{}}]*\}}"
    rf"|(?<=[\s,])(?:{_UNIT}))(?:\s*\^\s*\{{?[23]\}}?)?|\^\s*\{{?\\circ\}}?)\s*\.?\s*$"
)
_CURRENCY = re.compile(r"^\s*(?:\\?\$|\u20ac|\u00a3)\s*(?=[-+]?[0-9.])")
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot)")
_DEGREES = re.compile(r"([0-9.]+)\s*\^\s*\{?\\circ\}?")


def spell_out(text: str) -> str:
    r"""Return LaTeX with symbols, roots, mixed numbers and thousands spelled out.

    >>> spell_out("3√2"), spell_out(r"1\frac{1}{2}"), spell_out("1,000")
    ('3\\sqrt{2}', '(1+\\frac{1}{2})', '1000')
    """
    text = text.translate(_SYMBOLS)
    text = _THOUSANDS.sub("", text)
    text = _COMMAS.sub(lambda match: match[0].replace(",", ""), text)
    text = _SPACING.sub(" ", text)
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", text)
    text = _BARE_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _MIXED.sub(r"(\1+\\frac{\2}{\3})", text)
    text = _MIXED_SLASH.sub(r"(\1+\\frac{\2}{\3})", text)
    text = _PI.sub(r"\\pi ", text)
    return _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text).strip()


def normalize_math(text: str) -> str:
    r"""Return LaTeX for Math-Verify: the last box only, in one pair of dollars.

    >>> normalize_math(r"so $\boxed{3√2}$")
    '$3\\sqrt{2}$'
    """
    boxed = last_box(text)
    text = spell_out(text if boxed is None else boxed)
    # As angles, not as numbers with a unit: sin 30 degrees is one half.
    if _ANGLE_FUNCTION.search(text):
        text = _DEGREES.sub(r"(\1\\pi/180)", text)
    return f"${text}$"


def split_unit(text: str) -> tuple[str, str]:
    r"""Return the text without a unit at its end or a currency sign before it, and that unit.

    >>> split_unit(r"5\text{ cm}"), split_unit("30^\\circ"), split_unit("$5")
    (('5', 'cm'), ('30', 'degree'), ('5', 'currency'))
    """
    if currency := _CURRENCY.match(text):
        return text[currency.end() :].strip(), "currency"
    found = _UNITS.search(text)
    # The degrees of sin 30 degrees belong to the angle.
    if found is None or _ANGLE_FUNCTION.search(text):
        return text, ""
    unit = re.sub(r"\\(?:text|mathrm|textrm)|[{}\s]", "", found["unit"])
    unit = "degree" if "circ" in unit or unit.startswith("degree") else unit
    return text[: found.start()].strip(), unit


def squeeze(text: str) -> str:
    r"""Return a text that is equal for expressions that differ in layout only.

    >>> squeeze(r"\left( 1,\, 2\right)") == squeeze("(1,2)")
    True
    """
    text = re.sub(r"\\[dt]frac(?![A-Za-z])", r"\\frac", spell_out(text))
    return re.sub(r"\s+|\\ ", "", text).rstrip(".")


def split_top_level(text: str, separator: str = ",") -> list[str]:
    """Split at separators outside of brackets.

    >>> split_top_level("(1,2), 3")
    ['(1,2)', '3']
    """
    depth, start, parts = 0, 0, []
    for index, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == separator and depth <= 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]
