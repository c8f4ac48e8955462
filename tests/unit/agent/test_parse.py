"""parse_turn: every case, and texts that nobody planned."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.agent.parse import (
    EMPTY_ANSWER,
    NO_ACTION,
    NO_FENCE,
    parse_direct,
    parse_turn,
)
from agentic_vlm.schema import FinalAnswer, ParseFailure, ToolCall

CODE = "<code>\n```python\nx = 1\n```\n</code>"
CALL = '<tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call>'


def test_an_answer_wins_over_code_and_code_over_a_call() -> None:
    assert parse_turn(f"{CODE}{CALL}<answer>7</answer>") == FinalAnswer(text="7")
    assert parse_turn(f"{CALL}{CODE}") == ToolCall(tool="python", code="x = 1")


def test_the_last_answer_that_is_not_empty_counts() -> None:
    text = "<answer>a</answer><answer>b</answer><answer> </answer>"
    assert parse_turn(text) == FinalAnswer(text="b")


def test_the_last_closed_code_block_and_its_last_fence_count() -> None:
    two = "<code>\n```python\na\n```\nthen\n```python\nb\n```\n</code>"
    assert parse_turn(CODE + two + "<code>\n```python\nc") == ToolCall(tool="python", code="b")


def test_code_is_taken_verbatim() -> None:
    body = "if x:\n    print('  <answer>')\n\n\ty = 2  "
    text = f"<code>\n```python\n{body}\n```\n</code>"
    assert parse_turn(text) == ToolCall(tool="python", code=body)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>hm</think>", NO_ACTION),
        ("", NO_ACTION),
        ("<answer></answer>", EMPTY_ANSWER),
        ("<answer>7", "answer is not closed"),
        ("<code>\n```python\nx\n```", "code is not closed"),
        ("<tool_call>{}", "tool_call is not closed"),
        ("<code>x = 1</code>", NO_FENCE),
        ("<code>\n```\nx\n```\n</code>", NO_FENCE),
    ],
)
def test_a_turn_without_a_usable_action_says_why(text: str, reason: str) -> None:
    assert parse_turn(text) == ParseFailure(reason=reason)


def test_a_call_without_arguments_has_none() -> None:
    text = '<tool_call>{"name": "image_search"}</tool_call>'
    assert parse_turn(text) == ToolCall(tool="image_search")


def test_null_arguments_differ_from_absent_ones() -> None:
    text = '<tool_call>{"name": "image_search", "arguments": null}</tool_call>'
    assert parse_turn(text) == ToolCall(tool="image_search", arguments_json="null")


@pytest.mark.parametrize("body", ["{", "[1]", '{"name": 3}', '{"nome": "search"}', "[" * 99_999])
def test_a_malformed_call_is_a_call_of_no_tool(body: str) -> None:
    assert parse_turn(f"<tool_call>{body}</tool_call>") == ToolCall(tool="", arguments_json=body)


def test_half_a_surrogate_pair_does_not_reach_a_file() -> None:
    action = parse_turn(
        '<tool_call>{"name": "search", "arguments": {"query": "\\ud800"}}</tool_call>'
    )
    assert isinstance(action, ToolCall)
    assert action.arguments_json.encode("utf-8") == b'{"query": "?"}'


def test_direct_text_is_the_answer_after_the_thinking() -> None:
    assert parse_direct("<think>so</think> red ") == FinalAnswer(text="red")
    assert parse_direct("<answer>red</answer>") == FinalAnswer(text="red")
    assert parse_direct(" ") == ParseFailure(reason=EMPTY_ANSWER)


@given(st.text(alphabet='<>/`answercodetl_pyhn\n{}" ', max_size=200))
def test_any_text_is_parsed(text: str) -> None:
    parse_turn(text).model_dump_json()


@given(st.text().filter(lambda text: "```" not in text and "</code>" not in text))
def test_code_survives_writing_and_parsing(body: str) -> None:
    action = parse_turn(f"<think>go</think><code>\n```python\n{body}\n```\n</code>")
    assert action == ToolCall(tool="python", code=body) or "<answer>" in body


@given(st.text())
def test_a_query_survives_writing_and_parsing(query: str) -> None:
    call = json.dumps({"name": "search", "arguments": {"query": query}})
    action = parse_turn(f"<tool_call>{call}</tool_call>")
    if "<answer>" in call or "<code>" in call or "</tool_call>" in call:
        return
    assert isinstance(action, ToolCall)
    assert json.loads(action.arguments_json) == {"query": query}
