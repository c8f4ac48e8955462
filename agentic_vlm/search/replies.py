"""What an answer of a search service says: its content, or that another try may help."""

import email.utils
import json
import time
from collections.abc import Callable
from typing import TypeVar

from agentic_vlm.search.dialects import FormError

T = TypeVar("T")


class TryAgain(Exception):
    """A try failed in a way that another one may not."""

    def __init__(self, what: str, *, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        """Seconds that the service asks to be left alone for."""


def parse_json(body: bytes) -> object:
    """Return parsed JSON.

    Raises:
        TryAgain: it is no JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise TryAgain("its answer is no JSON") from None


def read_answer(answer: object, read: Callable[[dict[str, object]], T]) -> T:
    """Return what a dialect finds in an answer.

    Raises:
        TryAgain: the answer does not have the form of the service.
    """
    if not isinstance(answer, dict):
        raise TryAgain("its answer is no JSON object")
    try:
        return read(answer)
    except FormError as fault:
        raise TryAgain(f"its answer has another form: {fault}") from None


def retry_after_s(text: str) -> float:
    """Return the seconds that a header Retry-After asks for, as number or date; 0 if it is neither.

    >>> retry_after_s("3"), retry_after_s("soon")
    (3.0, 0.0)
    """
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
