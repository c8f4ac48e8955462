"""The final answer of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.grading import extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>4</answer>", "4"),
        ("<answer>3</answer> no, <answer> 4 </answer>", "4"),
        ("<answer>4</answer><answer> </answer>", "4"),
        ("<think><answer>3</answer></think><answer>4</answer>", "4"),
        ("<answer>a<answer>b</answer>", "b"),
        ("<answer>1 < 2</answer>", "1 < 2"),
        ("<answer>4</answer></answer>", "4"),
        ("red", "red"),
        (" Red.\n", "Red"),
        ("3.5.", "3.5"),
        ("well...", "well..."),
        ("<think>hm</think> red.", "red"),
    ],
)
def test_the_answer_is_taken(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " . ",
        "<answer></answer>",
        "<answer>4",
        "<think>it is red",
        "<think><answer>4</answer></think>",
        "<code>print(4)</code>",
        "<tool_call>{}</tool_call>",
    ],
)
def test_there_is_no_answer(text: str) -> None:
    assert extract_answer(text) is None


def test_a_plain_reply_is_no_answer_where_tags_are_demanded() -> None:
    assert extract_answer("red", allow_plain=False) is None


PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<code>", "x", " ", "."])
)


@given(st.text() | PIECES.map("".join))
def test_any_text_gives_an_answer_that_is_not_blank_or_none(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or answer.strip() == answer != ""


def test_many_open_tags_are_read_in_linear_time() -> None:
    assert extract_answer("<answer>" * 100_000) is None
    assert extract_answer("</answer>" * 100_000) is None
