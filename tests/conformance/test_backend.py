"""What every policy keeps to, on the members that need no service."""

import asyncio
from collections.abc import Callable

import httpx2
import openai
import pytest

from agentic_vlm.backends.base import (
    ChatMessage,
    Completion,
    FinishReason,
    Policy,
    Request,
    SamplingParams,
)
from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.schema import Role

MakePolicy = Callable[[str], Policy]


def scripted(text: str) -> Policy:
    return ScriptedPolicy(lambda request: text)


def over_http(text: str) -> Policy:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=body))
    client = openai.AsyncOpenAI(
        base_url="http://server.test/v1",
        api_key="k",
        http_client=httpx2.AsyncClient(transport=transport),
    )
    return OpenAIPolicy("m", client=client)


@pytest.fixture(params=[scripted, over_http])
def make_policy(request: pytest.FixtureRequest) -> MakePolicy:
    """Each member in turn."""
    member: MakePolicy = request.param
    return member


def ask(policy: Policy, num_turns: int = 1) -> list[Completion]:
    async def go() -> list[Completion]:
        policy.expect(num_turns)
        sampling = SamplingParams(0.0, 64, ("</code>",), 0)
        requests = [
            Request(f"e{i}", 0, [ChatMessage(Role.USER, ("Q",))], None, [], "<think>")
            for i in range(num_turns)
        ]
        completions = await asyncio.gather(*(policy.complete(r, sampling) for r in requests))
        for request in requests:
            policy.done(request.episode_id)
        await policy.close()
        return list(completions)

    return asyncio.run(go())


def test_a_policy_has_a_name(make_policy: MakePolicy) -> None:
    assert make_policy("x").policy_id


def test_a_stop_string_is_kept_in_the_text(make_policy: MakePolicy) -> None:
    (completion,) = ask(make_policy("<code>x</code> more"))
    assert completion.text == "<code>x</code>"
    assert completion.finish_reason is FinishReason.STOP


def test_the_text_does_not_repeat_the_prefill(make_policy: MakePolicy) -> None:
    (completion,) = ask(make_policy("so</think><answer>7</answer>"))
    assert completion.text == "so</think><answer>7</answer>"


def test_many_turns_may_be_asked_for_at_once(make_policy: MakePolicy) -> None:
    assert [completion.text for completion in ask(make_policy("7"), 16)] == ["7"] * 16


def test_ids_and_log_probabilities_go_together(make_policy: MakePolicy) -> None:
    (completion,) = ask(make_policy("7"))
    if completion.token_ids is not None and completion.logprobs is not None:
        assert len(completion.token_ids) == len(completion.logprobs)
    else:
        assert completion.logprobs is None
