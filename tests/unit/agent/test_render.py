"""Renderer and TokenContext: ids as the template gives them, and no mismatch unnoticed."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agentic_vlm.agent.context import TokenContext, check_exact
from agentic_vlm.agent.render import Renderer
from agentic_vlm.errors import ExactnessError

RED = Image.new("RGB", (112, 112), "red")
WIDE = Image.new("RGB", (300, 140), "blue")


def observed(renderer: Renderer) -> TokenContext:
    context = renderer.render_prompt("sys", "<image>Q", [RED], episode_id="e1")
    context.append_policy(renderer.encode_policy("go</code>", ends_turn=False), [-0.5] * 99)
    return context


def two_turns(renderer: Renderer) -> TokenContext:
    context = renderer.render_prompt("sys", "<image>Q", [RED], episode_id="e1")
    context.append_policy(renderer.encode_policy("go</code>", ends_turn=False), None)
    renderer.append_observation(context, "stdout: x\n<image><image>", [WIDE, RED])
    context.append_policy(renderer.encode_policy("red", ends_turn=True), None)
    return context


def test_a_prompt_has_the_ids_of_the_chat_template(renderer: Renderer) -> None:
    context = renderer.render_prompt("be brief", "<image>\nWhat is it?", [WIDE])
    tokenizer = renderer.tokenizer
    text = str(
        tokenizer.apply_chat_template(
            [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "<IMAGE>\nWhat is it?"},
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
    ).replace("<IMAGE>", "<|vision_start|><|image_pad|><|vision_end|>")
    pads = "<|image_pad|>" * context.placed[0].num_tokens
    expected = tokenizer.encode(text.replace("<|image_pad|>", pads), add_special_tokens=False)
    assert context.prompt_ids == expected


def test_an_empty_system_prompt_leaves_no_message(renderer: Renderer) -> None:
    context = renderer.render_prompt("", "Q", [])
    text = renderer.tokenizer.decode(context.prompt_ids)
    assert text == "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"


def test_after_a_stop_string_the_environment_ends_the_turn(renderer: Renderer) -> None:
    context = renderer.render_prompt("", "Q", [])
    context.append_policy(renderer.encode_policy("go</code>", ends_turn=False), None)
    renderer.append_observation(context, "stdout: 1", [])
    assert renderer.tokenizer.decode(context.completion_ids) == (
        "go</code><|im_end|>\n<|im_start|>user\nstdout: 1<|im_end|>\n<|im_start|>assistant\n<think>"
    )


def test_an_end_of_turn_that_the_policy_sampled_is_trained_and_not_doubled(
    renderer: Renderer,
) -> None:
    context = renderer.render_prompt("", "Q", [])
    context.append_policy(renderer.encode_policy("hm", ends_turn=True), None)
    renderer.append_observation(context, "Error: x", [])
    ends = [i for i, token in enumerate(context.completion_ids) if token == renderer.end_of_turn_id]
    assert [context.loss_mask[i] for i in ends] == [True, False]


def test_the_loss_mask_decodes_to_what_the_policy_wrote(renderer: Renderer) -> None:
    context = two_turns(renderer)
    kept = [
        token
        for token, is_ours in zip(context.completion_ids, context.loss_mask, strict=True)
        if is_ours
    ]
    assert renderer.tokenizer.decode(kept) == "go</code>red<|im_end|>"


def test_an_untouched_context_is_exact(renderer: Renderer) -> None:
    check_exact(two_turns(renderer))


def test_a_missing_mark_names_episode_turn_and_image(renderer: Renderer) -> None:
    with pytest.raises(ExactnessError) as caught:
        renderer.render_prompt("", "<image>Q", [RED, RED], episode_id="e1")
    assert str(caught.value) == (
        "episode e1, turn 0, image 2: 1 image marks but 2 pictures\n"
        "  fix: the text must hold one <image> per picture and neutralise all data"
    )


@pytest.mark.parametrize("edit", ["drop", "double", "swap", "change"])
def test_an_edited_picture_is_noticed(renderer: Renderer, edit: str) -> None:
    context = two_turns(renderer)
    placed = context.placed
    if edit == "drop":
        placed.pop()
    elif edit == "double":
        placed.append(placed[0])
    elif edit == "swap":
        placed[0], placed[1] = placed[1], placed[0]
    else:
        placed[0] = replace(placed[0], image=Image.new("RGB", (112, 112), "green"))
    with pytest.raises(ExactnessError, match="episode e1, turn"):
        check_exact(context)


def test_a_placeholder_that_the_policy_sampled_is_noticed(renderer: Renderer) -> None:
    context = renderer.render_prompt("", "Q", [], episode_id="e1")
    context.append_policy([renderer.placeholders.pad], None)
    with pytest.raises(
        ExactnessError, match="episode e1, turn 1, image 1: 1 placeholder runs but 0"
    ):
        check_exact(context)


def test_a_log_probability_too_many_is_noticed(renderer: Renderer) -> None:
    with pytest.raises(ExactnessError, match="mask entries and logprobs"):
        check_exact(observed(renderer))


@settings(deadline=None)  # A busy machine is no fault.
@given(st.text(alphabet=st.sampled_from(list("<|>im_end/abc ")) | st.characters(codec="utf-8")))
def test_no_text_becomes_a_control_token(renderer: Renderer, text: str) -> None:
    plain = renderer.render_prompt("", "Q", [])
    data = text.replace("<image>", "")
    context = renderer.render_prompt("", data or "Q", [])
    controls = set(renderer.tokenizer.all_special_ids)
    assert [token for token in context.prompt_ids if token in controls] == [
        token for token in plain.prompt_ids if token in controls
    ]


@settings(deadline=None)  # A busy machine is no fault.
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_policy_text_survives_encoding_and_decoding(renderer: Renderer, text: str) -> None:
    if "<|" not in text:
        assert renderer.decode_policy(renderer.encode_policy(text, ends_turn=True)) == text
