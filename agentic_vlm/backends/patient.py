"""A model server that is asked at a limited rate and waited for while it is down."""

import asyncio
import time
from collections.abc import Callable

import openai
import tenacity
from tenacity.stop import stop_base

from agentic_vlm.backends.base import Completion, Request, SamplingParams
from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.errors import BackendUnavailable

_LONGEST_PAUSE_S = 30.0
# Looking whether a server is back costs it nothing.
_LONGEST_ABSENCE_S = 3.0
# No answer, an overload, or a gateway in front of a server that is starting.
_DOWN_STATUS = (408, 409, 425, 429, 502, 503, 504)
# Nothing that is asked later can go better.
_REFUSED_STATUS = (401, 403, 404)
# A server that answers with a fault of its own may meet it again in the same request for ever.
_MAX_FAULTS = 4


class PatientPolicy:
    """Passes requests on; an outage costs time and nothing else.

    The same request with the same seed is repeated. A server that stays away, or refuses the key or
    the model, is `lost`: whoever runs the episodes stops there and goes on in another run.
    """

    def __init__(
        self,
        policy: OpenAIPolicy,
        *,
        patience_s: float,
        requests_per_minute: float | None = None,
        check: Callable[[], None] = lambda: None,
        first_pause_s: float = 0.5,
    ) -> None:
        """Wrap a policy.

        Args:
            policy: asks the server once per call.
            patience_s: how long a server that is down is waited for.
            requests_per_minute: most requests that are begun; absent for no limit.
            check: called before each request, such as to stop where a budget is spent.
            first_pause_s: pause before the second try; it doubles with each, up to half a minute.
        """
        self.policy_id = policy.policy_id
        self.lost: BackendUnavailable | None = None
        self._policy = policy
        self._patience_s = patience_s
        self._gap_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._check = check
        self._first_pause_s = first_pause_s
        self._next_start = 0.0

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the next turn.

        Raises:
            BackendUnavailable: the server refuses, fails at this request again and again, or stays
                down for too long.
        """
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda fault: _may_pass(fault.__cause__)),
            wait=self._pause_s,
            stop=tenacity.stop_any(
                _StopAfterFaults(_MAX_FAULTS), tenacity.stop_before_delay(self._patience_s)
            ),
            reraise=True,
        )
        try:
            return await retrying(self._ask, request, params)
        except BackendUnavailable as fault:
            cause = fault.__cause__
            is_refused = getattr(cause, "status_code", None) in _REFUSED_STATUS
            if self.lost is None and (is_refused or _is_down(cause)):
                fix = f"{fault.fix}; then run again: finished attempts are kept"
                self.lost = BackendUnavailable(fault.where, fault.what, fix)
            raise

    async def _ask(self, request: Request, params: SamplingParams) -> Completion:
        self.check_lost()
        self._check()
        await self._take_turn()
        return await self._policy.complete(request, params)

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        is_away = isinstance(_cause(state), openai.APIConnectionError)
        longest_s = _LONGEST_ABSENCE_S if is_away else _LONGEST_PAUSE_S
        return tenacity.wait_exponential(self._first_pause_s, max=longest_s)(state)

    def check_lost(self) -> None:
        """Stop where the server is lost.

        Raises:
            BackendUnavailable: it is; finished work is kept by whoever runs the episodes.
        """
        if self.lost is not None:
            raise self.lost

    def expect(self, num_episodes: int) -> None:
        """Need no announcement: the server forms its own batches."""

    def done(self, episode_id: str) -> None:
        """Need no announcement."""

    async def close(self) -> None:
        """Close the connections."""
        await self._policy.close()

    async def _take_turn(self) -> None:
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + self._gap_s
        await asyncio.sleep(start - now)


class _StopAfterFaults(stop_base):
    """Ends a request that the server itself failed at again and again."""

    def __init__(self, most: int) -> None:
        self._most, self._num = most, 0

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        self._num += not _is_down(_cause(retry_state))
        return self._num >= self._most


def _cause(state: tenacity.RetryCallState) -> BaseException | None:
    """Return what the client said when the last try failed."""
    fault = state.outcome.exception() if state.outcome else None
    return fault.__cause__ if fault else None


def _is_down(cause: BaseException | None) -> bool:
    """Whether nothing is wrong with the request: no connection, an overload."""
    if isinstance(cause, openai.APIStatusError):
        return cause.status_code in _DOWN_STATUS
    return isinstance(cause, openai.APIConnectionError)


def _may_pass(cause: BaseException | None) -> bool:
    """Whether a fault can go away by itself."""
    is_fault = isinstance(cause, openai.APIStatusError) and cause.status_code >= 500
    return is_fault or _is_down(cause)
