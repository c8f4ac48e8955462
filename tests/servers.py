"""OpenAI-compatible servers for tests of what asks one: without a socket, or playing a script."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import openai

from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.patient import PatientPolicy
from agentic_vlm.grading.judges import JudgeBudget, ModelJudge
from agentic_vlm.grading.judges.askers import OpenAIAsker
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.prompt import load_prompt


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


@dataclass
class Script:
    """What the server does, request by request; the last act is repeated."""

    acts: list[Callable[["Handler"], None]]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    base_url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Plays the script of its server."""

    script: Script

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        script = self.script
        script.bodies.append(json.loads(self.rfile.read(size)))
        script.acts[min(len(script.bodies), len(script.acts)) - 1](self)

    def send(self, body: bytes, *, status: int = 200, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        # The client waits as long as a server asks for, so no longer than this.
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def says(text: str, *, reason: str = "stop") -> Callable[[Handler], None]:
    message = {"role": "assistant", "content": text}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100},
    }
    return lambda handler: handler.send(json.dumps(body).encode())


def fails(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send(b'{"error": {"message": "no"}}', status=status)


def shows_a_page(handler: Handler) -> None:
    handler.send(b"<html>busy</html>", kind="text/html")


def sends_half_a_body(handler: Handler) -> None:
    handler.send(b'{"id": "1", "choi')


def sends_no_choice(handler: Handler) -> None:
    handler.send(b'{"id": "1", "object": "chat.completion", "model": "m", "choices": []}')


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


def make_judge(
    script: Script | None,
    *,
    folder: Path | None = None,
    budget: JudgeBudget | None = None,
    num_retries: int = 1,
) -> ModelJudge:
    """Return a judge behind a server that plays a script; without one it replays its cache."""
    asker = None
    if script is not None:
        client = openai.AsyncOpenAI(
            base_url=script.base_url, api_key="none", timeout=30, max_retries=num_retries
        )
        asker = OpenAIAsker("m", client=client)
    prompt = load_prompt("consistency_v1")
    return ModelJudge(asker, name="m", prompt=prompt, cache=VerdictCache(folder), budget=budget)
