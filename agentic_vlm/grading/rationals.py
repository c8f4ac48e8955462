r"""Exact arithmetic on plain numbers, so that `\frac{3}{4}` and `0.75` need no computer algebra.

Only what every reader reads alike is read: numbers in figures, the four operations, fractions,
brackets, whole exponents. Whatever else stands in a text, it is not read at all.
"""

import re
from fractions import Fraction

_MAX_CHARS = 200
_MAX_DEPTH = 20
_MAX_EXPONENT = 64
# Far above any answer, and small enough for every operation to be instant.
_MAX_BITS = 4096
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|\^\s*(?:\{\s*(?P<braced>-?[0-9]{1,2})\s*\}|(?P<digit>[0-9]))"
    r"|(?P<sign>\\(?:times|cdot|div|frac)(?![A-Za-z])|[-+*/(){}]))"
)
_PRODUCTS = {"*": "*", r"\times": "*", r"\cdot": "*", "/": "/", r"\div": "/"}


class _Unread(Exception):
    """The text is more than arithmetic, or has no value."""


def parse_rational(text: str) -> Fraction | None:
    r"""Return the exact value of a text that is plain arithmetic; None for any other.

    >>> parse_rational(r"1 + \frac{1}{2}"), parse_rational("2^{10}"), parse_rational("-.5 * 3")
    (Fraction(3, 2), Fraction(1024, 1), Fraction(-3, 2))
    >>> [parse_rational(other) for other in ("2x", "1 2", "2(3)", "1/0", "10^10", "50%")]
    [None, None, None, None, None, None]
    """
    if len(text) > _MAX_CHARS:
        return None
    try:
        reader = _Reader(_split(text))
        value = reader.read_sum(0)
        reader.end()
    except _Unread:
        return None
    return value


def _split(text: str) -> list[str]:
    """Return the numbers and signs of a text; an exponent is one, `^3`."""
    tokens, place = [], 0
    text = text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _Unread
        exponent = match["braced"] or match["digit"]
        tokens.append(f"^{exponent}" if exponent else match["number"] or match["sign"])
        place = match.end()
    return tokens


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0

    def read_sum(self, depth: int) -> Fraction:
        """Read terms that are added, up to a closing bracket or the end."""
        if depth > _MAX_DEPTH:
            raise _Unread
        sign = self._read_sign()
        value = sign * self._read_product(depth)
        while self._next() in ("+", "-"):
            is_minus = self._take() == "-"
            term = self._read_product(depth)
            value = _bounded(value - term if is_minus else value + term)
        return value

    def end(self) -> None:
        """Insist that nothing is left."""
        if self._place < len(self._tokens):
            raise _Unread

    def _read_sign(self) -> int:
        return -1 if self._next() in ("+", "-") and self._take() == "-" else 1

    def _read_product(self, depth: int) -> Fraction:
        value = self._read_power(depth)
        while (operation := _PRODUCTS.get(self._next())) is not None:
            self._take()
            factor = self._read_power(depth)
            value = _divide(value, factor) if operation == "/" else _bounded(value * factor)
        return value

    def _read_power(self, depth: int) -> Fraction:
        value = self._read_atom(depth)
        if self._next().startswith("^"):
            exponent = int(self._take()[1:])
            if abs(exponent) > _MAX_EXPONENT or (value == 0 and exponent <= 0):
                raise _Unread
            value = _bounded(value**exponent)
        return value

    def _read_atom(self, depth: int) -> Fraction:
        token = self._take()
        if token == "(":
            return self._read_bracket(")", depth)
        if token == r"\frac":
            top = self._read_argument(depth)
            return _divide(top, self._read_argument(depth))
        if token[0].isdigit() or token[0] == ".":
            return Fraction(token)
        raise _Unread

    def _read_argument(self, depth: int) -> Fraction:
        if self._take() != "{":
            raise _Unread
        return self._read_bracket("}", depth)

    def _read_bracket(self, closing: str, depth: int) -> Fraction:
        value = self.read_sum(depth + 1)
        if self._take() != closing:
            raise _Unread
        return value

    def _next(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next()
        if not token:
            raise _Unread
        self._place += 1
        return token


def _divide(value: Fraction, divisor: Fraction) -> Fraction:
    if divisor == 0:
        raise _Unread
    return _bounded(value / divisor)


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise _Unread
    return value
