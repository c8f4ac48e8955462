"""What keeps a paid service usable: a rate limit, a circuit breaker and a budget.

All three are shared by the threads of one provider and take the clock as an argument, so that none
of them ever sleeps by itself.
"""

import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]


class Throttle:
    """Spreads requests evenly: each one is given the moment at which it may be sent."""

    def __init__(self, *, max_per_second: float, clock: Clock = time.monotonic) -> None:
        """Allow at most `max_per_second` requests per second."""
        self._gap_s = 1.0 / max_per_second
        self._clock = clock
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self, *, max_wait_s: float) -> float | None:
        """Return how many seconds to wait; None, and nothing reserved, if that is too long."""
        with self._lock:
            now = self._clock()
            wait_s = max(0.0, self._next - now)
            if wait_s > max_wait_s:
                return None
            self._next = max(self._next, now) + self._gap_s
            return wait_s

    def hold(self, seconds: float) -> None:
        """Send nothing for a while: the service has asked for it."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class Breaker:
    """Stops asking a service that has failed many times in a row, then tries it with one request.

    Closed, it lets everything pass. After `max_failures` failures in a row it opens for
    `cooldown_s`. Then one request may pass: if it works the breaker closes, else it opens again.
    """

    def __init__(
        self, *, max_failures: int, cooldown_s: float, clock: Clock = time.monotonic
    ) -> None:
        """Start closed."""
        self._max_failures = max_failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._num_failures = 0
        self._opens_again_at = 0.0
        self._lock = threading.Lock()

    def wait_s(self) -> float:
        """Return 0 if a request may pass now, else the seconds until one may try."""
        with self._lock:
            if self._num_failures < self._max_failures:
                return 0.0
            left = self._opens_again_at - self._clock()
            if left > 0:
                return left
            # Whoever asks next waits for the outcome of this one.
            self._opens_again_at = self._clock() + self._cooldown_s
            return 0.0

    def succeed(self) -> None:
        """Record an answer of the service, even a refusal."""
        with self._lock:
            self._num_failures = 0

    def fail(self) -> None:
        """Record an outage."""
        with self._lock:
            self._num_failures += 1
            if self._num_failures >= self._max_failures:
                self._opens_again_at = self._clock() + self._cooldown_s


class Budget:
    """Counts requests and money, and refuses what would go beyond the limits."""

    def __init__(
        self, *, max_calls: int | None, max_usd: float | None, usd_per_call: float
    ) -> None:
        """Allow `max_calls` requests and `max_usd` US dollars; None is no limit."""
        self._max_calls = max_calls
        self._max_usd = max_usd
        self._usd_per_call = usd_per_call
        self._lock = threading.Lock()
        self.num_calls = 0
        """Requests sent."""
        self.num_paid = 0
        """Requests that were answered, or are on their way."""

    @property
    def usd(self) -> float:
        """US dollars spent."""
        return self.num_paid * self._usd_per_call

    def take(self) -> str | None:
        """Reserve one request; returns what the limit is if there is none left."""
        with self._lock:
            if self._max_calls is not None and self.num_calls >= self._max_calls:
                return f"all {self._max_calls} calls are used"
            # Sums of a price differ from its multiples by rounding.
            over = (self.num_paid + 1) * self._usd_per_call - 1e-9
            if self._max_usd is not None and over > self._max_usd:
                return f"{self.usd:.4g} of {self._max_usd:.4g} US dollars are spent"
            self.num_calls += 1
            self.num_paid += 1
            return None

    def refund(self) -> None:
        """Take the price back of a request that was not answered."""
        with self._lock:
            self.num_paid -= 1
