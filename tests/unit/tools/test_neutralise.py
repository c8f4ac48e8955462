"""neutralise: one test per token, and texts that nobody planned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.tools.neutralise import neutralise

TAGS = ("think", "code", "tool_call", "tool_response", "answer", "image", "video")


@pytest.mark.parametrize(
    "token",
    [
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|object_ref_start|>",
        "<|box_end|>",
        *(f"<{slash}{tag}>" for slash in ("", "/") for tag in TAGS),
    ],
)
def test_a_token_in_data_is_visible_but_dead(token: str) -> None:
    shown = neutralise(f"a{token}b")
    assert token not in shown
    assert shown.replace(" ", "") == f"a{token}b"


def test_tokens_nested_in_tokens_do_not_come_alive() -> None:
    assert "<answer>" not in neutralise("<ans<answer>wer>")
    assert "<|im_end|>" not in neutralise("<|im_<|im_end|>end|>")


@given(st.text(alphabet="<>|/ answerim_ed"))
def test_twice_changes_nothing_more(text: str) -> None:
    assert neutralise(neutralise(text)) == neutralise(text)
