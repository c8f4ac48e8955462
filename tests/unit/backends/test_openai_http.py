"""OpenAIPolicy, against a transport that answers from memory."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from agentic_vlm.backends.base import (
    ChatMessage,
    Completion,
    FinishReason,
    Request,
    SamplingParams,
)
from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.errors import BackendUnavailable
from agentic_vlm.schema import Role

STOP = ("</code>", "</tool_call>")


def reply(content: str, *, finish: str = "stop", **extra: object) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": finish,
        **extra,
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def complete(
    answer: Callable[[httpx2.Request], httpx2.Response] | dict[str, Any],
    *,
    prefix: str = "",
    continues: bool = False,
    times: int = 1,
) -> Completion:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=answer) if isinstance(answer, dict) else answer(request)

    async def go() -> Completion:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
        client = openai.AsyncOpenAI(
            base_url="http://server.test/v1", api_key="k", http_client=http, max_retries=0
        )
        policy = OpenAIPolicy("m", client=client, continues_messages=continues, counts_context=True)
        parts = (Image.new("RGB", (28, 28), "red"), "What is it?")
        messages = [ChatMessage(Role.SYSTEM, ("sys",)), ChatMessage(Role.USER, parts)]
        request = Request("e1", 0, messages, None, [], prefix)
        for _ in range(times):
            completion = await policy.complete(request, SamplingParams(0.5, 64, STOP, 3))
        await policy.close()
        return completion

    return asyncio.run(go())


def test_pictures_travel_in_place_as_data_uris() -> None:
    bodies: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json=reply("red"))

    complete(respond)
    picture, text = bodies[0]["messages"][1]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "What is it?"}
    assert (bodies[0]["stop"], bodies[0]["seed"], bodies[0]["max_tokens"]) == (list(STOP), 3, 64)


def test_a_stop_string_that_the_server_left_out_is_put_back() -> None:
    assert complete(reply("<code>x")).text == "<code>x</code>"


def test_the_stop_string_that_the_server_names_is_believed() -> None:
    assert complete(reply("x", stop_reason="</code>")).text == "x</code>"
    assert complete(reply("I use <code>", stop_reason=None)).text == "I use <code>"


def test_talk_of_code_before_an_answer_is_left_alone() -> None:
    text = "no <code> needed <answer>7</answer>"
    assert complete(reply(text)).text == text


def test_text_after_a_stop_string_is_cut() -> None:
    completion = complete(reply("<code>x</code> and so on", finish="length"))
    assert (completion.text, completion.finish_reason) == ("<code>x</code>", FinishReason.STOP)


def test_a_cut_turn_says_so_and_counts_its_tokens() -> None:
    completion = complete(reply("<code>x", finish="length"))
    assert (completion.text, completion.finish_reason) == ("<code>x", FinishReason.LENGTH)
    assert completion.num_tokens == 5


def test_a_prefill_that_the_model_wrote_itself_is_not_doubled() -> None:
    assert complete(reply("<think>so"), prefix="<think>").text == "so"


def test_a_server_that_can_continue_gets_the_prefill() -> None:
    bodies: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json=reply("so"))

    complete(respond, prefix="<think>", continues=True)
    assert bodies[0]["messages"][-1] == {"role": "assistant", "content": "<think>"}
    assert bodies[0]["continue_final_message"] is True


def test_a_context_that_is_too_long_ends_as_length() -> None:
    error = {"error": {"message": "exceeds the maximum context length", "code": 400}}
    completion = complete(lambda request: httpx2.Response(400, json=error))
    assert (completion.text, completion.finish_reason) == ("", FinishReason.LENGTH)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_server_that_refuses_is_unavailable(status: int) -> None:
    with pytest.raises(BackendUnavailable, match=r"model server http://server.test/v1/, model m"):
        complete(lambda request: httpx2.Response(status, json={"error": {"message": "no"}}))


def test_a_server_that_is_not_there_is_unavailable() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(BackendUnavailable):
        complete(respond)


def test_an_answer_without_a_choice_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="holds no choice"):
        complete({**reply(""), "choices": []})


def test_a_server_that_fails_at_stop_strings_is_asked_without_them() -> None:
    bodies: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        if "stop" in bodies[-1]:
            return httpx2.Response(500, json={"error": {"message": "no get_vocab"}})
        return httpx2.Response(200, json=reply("<code>x</code> and so on"))

    assert complete(respond, times=3).text == "<code>x</code>"
    assert ["stop" in body for body in bodies] == [True, False, False, False]


def test_a_block_is_not_closed_where_no_stop_string_was_sent() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        if "stop" in json.loads(request.content):
            return httpx2.Response(400, json={"error": {"message": "stop is not supported"}})
        return httpx2.Response(200, json=reply("I use <code>"))

    assert complete(respond, times=2).text == "I use <code>"


def test_a_call_that_the_server_took_out_of_the_text_is_put_back() -> None:
    call = {"id": "1", "type": "function"}
    call["function"] = {"name": "search", "arguments": '{"query": "a"}'}
    answer = reply("<think>so</think>", finish="tool_calls")
    answer["choices"][0]["message"]["tool_calls"] = [call]
    written = '{"name": "search", "arguments": {"query": "a"}}'
    assert complete(answer).text == f"<think>so</think><tool_call>\n{written}\n</tool_call>"


def test_the_context_is_what_the_server_counts() -> None:
    assert complete(reply("x")).num_context_tokens == 6
