"""A teacher behind a server: asked at a limited rate, waited for while it is down, paid for."""

import json

import openai

from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.patient import PatientPolicy
from agentic_vlm.synthesis.budget import Budget

_TIMEOUT_S = 660.0


def build_metered(
    model: str,
    *,
    base_url: str,
    api_key: str,
    budget: Budget,
    requests_per_minute: float,
    patience_s: float,
) -> PatientPolicy:
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
    return PatientPolicy(
        OpenAIPolicy(model, client=client),
        patience_s=patience_s,
        requests_per_minute=requests_per_minute,
        check=budget.check,
    )


def _count(body: bytes, model: str, budget: Budget) -> None:
    try:
        usage = json.loads(body).get("usage") or {}
        sent, written = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # A server that does not say what it counts is not billed by tokens.
        return
    budget.add(model, input_tokens=sent, output_tokens=written)
