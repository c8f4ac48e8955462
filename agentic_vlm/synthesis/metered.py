"""A model server that is asked at a limited rate, waited for while it is down, and paid for."""

import asyncio
import json
import time

import openai

from agentic_vlm.backends.base import Completion, Request, SamplingParams
from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.errors import BackendUnavailable
from agentic_vlm.synthesis.budget import Budget

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_PASSING_STATUS = (408, 409, 425, 429)
_TIMEOUT_S = 660.0


class MeteredPolicy:
    """Passes requests on; an outage costs time and nothing else."""

    def __init__(
        self, policy: OpenAIPolicy, *, budget: Budget, requests_per_minute: float, patience_s: float
    ) -> None:
        """Wrap a policy.

        Args:
            policy: asks the server once per call.
            budget: stops the requests when it is spent.
            requests_per_minute: most requests that are begun.
            patience_s: how long a server that is down is waited for.
        """
        self.policy_id = policy.policy_id
        self._policy = policy
        self._budget = budget
        self._gap_s = 60.0 / requests_per_minute
        self._patience_s = patience_s
        self._next_start = 0.0

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Return the next turn; the same request with the same seed is repeated after an outage.

        Raises:
            BackendUnavailable: the server refuses, or stays down for too long.
            InfrastructureError: the budget is spent.
        """
        deadline = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            self._budget.check()
            await self._take_turn()
            try:
                return await self._policy.complete(request, params)
            except BackendUnavailable as fault:
                if not _may_pass(fault.__cause__) or time.monotonic() + pause_s > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _take_turn(self) -> None:
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + self._gap_s
        await asyncio.sleep(start - now)

    def expect(self, num_episodes: int) -> None:
        """Need no announcement."""

    def done(self, episode_id: str) -> None:
        """Need no announcement."""

    async def close(self) -> None:
        """Close the connections."""
        await self._policy.close()


def _may_pass(cause: BaseException | None) -> bool:
    """Whether a fault can go away by itself: no connection, an overload, a server fault."""
    if isinstance(cause, openai.APIStatusError):
        return cause.status_code >= 500 or cause.status_code in _PASSING_STATUS
    return isinstance(cause, openai.APIConnectionError)


def build_metered(
    model: str,
    *,
    base_url: str,
    api_key: str,
    budget: Budget,
    requests_per_minute: float,
    patience_s: float,
) -> MeteredPolicy:
    """Return a policy for a server; nothing is contacted before the first turn."""

    class _Transport(openai.DefaultAsyncHttpxClient):
        """Counts the tokens of every answer, also of those that come too late."""

        async def send(self, *args, **kwargs):  # type: ignore[no-untyped-def]  # as httpx has it
            response = await super().send(*args, **kwargs)
            if response.status_code == 200:
                _count(await response.aread(), model, budget)
            return response

    client = openai.AsyncOpenAI(
        base_url=base_url,
        api_key=api_key,
        timeout=_TIMEOUT_S,
        max_retries=0,
        http_client=_Transport(),
    )
    return MeteredPolicy(
        OpenAIPolicy(model, client=client),
        budget=budget,
        requests_per_minute=requests_per_minute,
        patience_s=patience_s,
    )


def _count(body: bytes, model: str, budget: Budget) -> None:
    try:
        usage = json.loads(body).get("usage") or {}
        sent, written = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # A server that does not say what it counts is not billed by tokens.
        return
    budget.add(model, input_tokens=sent, output_tokens=written)
