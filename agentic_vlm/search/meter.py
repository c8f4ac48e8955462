"""What one tool call cost: providers add to the bill of whoever asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Bill:
    """Requests and money of one call."""

    num_requests: int = 0
    """Requests sent to a service, failed ones included."""
    usd: float = 0.0
    """US dollars."""

    def add(self, *, usd: float) -> None:
        """Add one request."""
        self.num_requests += 1
        self.usd += usd


_BILL: ContextVar[Bill | None] = ContextVar("_BILL", default=None)


@contextmanager
def billed() -> Iterator[Bill]:
    """Yield a bill to which every search in the block is added, however deep.

    It is part of the bill around it, also where the block ends with an error.
    """
    around = current_bill()
    bill = Bill()
    token = _BILL.set(bill)
    try:
        yield bill
    finally:
        _BILL.reset(token)
        around.num_requests += bill.num_requests
        around.usd += bill.usd


def current_bill() -> Bill:
    """Return the bill of the call that is being served; a loose one outside of any."""
    return _BILL.get() or Bill()
