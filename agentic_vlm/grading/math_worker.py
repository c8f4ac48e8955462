"""The process that compares mathematics: a JSON row in, a JSON row out, until its input ends.

Math-Verify limits its time by a signal that works in main threads only, and symbolic mathematics
can run forever or fill the memory. So it runs here, where `math_pool` can kill it.
"""

import json
import re
import resource
import sys
from typing import TextIO

from math_verify import parse, verify

_MEMORY_BYTES = 4 << 30
_BOXED = "\\boxed{"
# Math-Verify reads what it does not know as a product of what is left: 3\u221a2 as 3, 2\u03c0 as 2.
_SYMBOLS = str.maketrans(
    {
        "\u2212": "-",
        "\u00d7": r"\times ",
        "\u00b7": r"\cdot ",
        "\u00f7": r"\div ",
        "\u03c0": r"\pi ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        "\u221e": r"\infty ",
        "\u2264": r"\le ",
        "\u2265": r"\ge ",
        "$": " ",
    }
)
_ROOT = re.compile(r"(?:\u221a|(?<!\\)\bsqrt)\s*(?:\(([^()]*)\)|(\w+))")
_SCIENTIFIC = re.compile(r"\b([0-9]+(?:\.[0-9]+)?)[eE]([-+]?[0-9]{1,3})\b")


def normalize_math(text: str) -> str:
    r"""Return LaTeX for Math-Verify: the last box only, no dollars, symbols spelled out.

    >>> normalize_math(r"so $\boxed{3√2}$")
    '$3\\sqrt{2}$'
    """
    text = _last_box(text).translate(_SYMBOLS)
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    text = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)
    return f"${text.strip()}$"


def _last_box(text: str) -> str:
    start = text.rfind(_BOXED)
    if start < 0:
        return text
    depth = 1
    begin = start + len(_BOXED)
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index]
    return text[begin:]


def is_equal(reference: str, answer: str) -> bool | None:
    """Return whether two expressions are equal; None where one of them cannot be read."""
    expected = parse(normalize_math(reference), parsing_timeout=None)
    given = parse(normalize_math(answer), parsing_timeout=None)
    if not expected or not given:
        return None
    return bool(verify(expected, given, timeout_seconds=None))


def serve(rows: TextIO, replies: TextIO) -> None:
    """Answer rows `[reference, answer]` with true, false or null; the first reply says `ready`."""
    replies.write('"ready"\n')
    replies.flush()
    for row in rows:
        reference, answer = json.loads(row)
        try:
            reply = is_equal(reference, answer)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            reply = None
        except (MemoryError, NotImplementedError, RecursionError):
            reply = None
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    serve(sys.stdin, sys.stdout)
