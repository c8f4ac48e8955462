"""PatientPolicy: an outage costs time, a refusal ends the run, a poisoned request ends itself."""

import asyncio
from collections.abc import Callable

import httpx2
import openai
import pytest

from agentic_vlm.backends.base import ChatMessage, Completion, Request, SamplingParams
from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.patient import PatientPolicy
from agentic_vlm.errors import BackendUnavailable, InfrastructureError
from agentic_vlm.schema import Role

Respond = Callable[[httpx2.Request], httpx2.Response]


def good(text: str = "7") -> httpx2.Response:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return httpx2.Response(200, json=body)


def failed(status: int) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"message": "no"}})


def patient(respond: Respond, *, patience_s: float = 60.0, **more: object) -> PatientPolicy:
    client = openai.AsyncOpenAI(
        base_url="http://server.test/v1",
        api_key="k",
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(respond)),
        max_retries=0,
    )
    policy = OpenAIPolicy("m", client=client)
    return PatientPolicy(policy, patience_s=patience_s, first_pause_s=0.001, **more)  # type: ignore[arg-type]


def ask(policy: PatientPolicy) -> Completion:
    request = Request("e", 0, [ChatMessage(Role.USER, ("Q",))], None, [], "")
    return asyncio.run(policy.complete(request, SamplingParams(0.0, 8, (), 0)))


def test_a_server_that_is_down_is_waited_for() -> None:
    answers = [None, failed(503), failed(429), good()]

    def respond(request: httpx2.Request) -> httpx2.Response:
        answer = answers.pop(0)
        if answer is None:
            raise httpx2.ConnectError("refused")
        return answer

    policy = patient(respond)
    assert ask(policy).text == "7"
    assert policy.lost is None


def test_a_server_that_stays_away_is_lost_and_says_that_work_is_kept() -> None:
    policy = patient(lambda request: failed(503), patience_s=0.0005)
    with pytest.raises(BackendUnavailable):
        ask(policy)
    with pytest.raises(BackendUnavailable, match="finished attempts are kept"):
        policy.check_lost()


def test_a_refused_key_is_not_tried_again() -> None:
    asked = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return failed(401)

    policy = patient(respond)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            ask(policy)
    assert len(asked) == 1


def test_a_request_that_breaks_the_server_each_time_ends_alone() -> None:
    asked = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return failed(500)

    policy = patient(respond)
    with pytest.raises(BackendUnavailable):
        ask(policy)
    assert len(asked) == 4
    assert policy.lost is None


def test_a_check_stops_before_a_request_is_sent() -> None:
    def refuse() -> None:
        raise InfrastructureError("budget", "spent", "raise it")

    policy = patient(lambda request: pytest.fail("it was sent"), check=refuse)
    with pytest.raises(InfrastructureError, match="spent"):
        ask(policy)
