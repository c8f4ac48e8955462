"""An OpenAI-compatible server without a socket, for tests of what asks one."""

import json

import httpx2
import openai

from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.patient import PatientPolicy


def serve_red(seeds: list[int], *, max_requests: int | None, policy_id: str = "m") -> PatientPolicy:
    """Return a policy behind a server that always answers `red`, and refuses the key in the end.

    Args:
        seeds: takes the seed of each request that is answered.
        max_requests: answers before the key is refused; absent for no end.
        policy_id: of the policy.
    """

    def respond(request: httpx2.Request) -> httpx2.Response:
        if len(seeds) == max_requests:
            return httpx2.Response(401, json={"error": {"message": "no"}})
        seeds.append(json.loads(request.content)["seed"])
        choice = {"index": 0, "finish_reason": "stop"}
        message = {"role": "assistant", "content": "<answer>red</answer>"}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        return httpx2.Response(200, json={**body, "choices": [{**choice, "message": message}]})

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    client = openai.AsyncOpenAI(
        base_url="http://server.test/v1", api_key="k", http_client=http, max_retries=0
    )
    return PatientPolicy(OpenAIPolicy("m", client=client, policy_id=policy_id), patience_s=1.0)
