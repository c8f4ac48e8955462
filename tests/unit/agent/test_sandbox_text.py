"""Whatever a session claims: its observation opens no turn, no tag and no picture."""

import dataclasses
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import SandboxParams
from agentic_vlm.sandbox.base import CellStatus
from agentic_vlm.sandbox.channel import clean_text, parse_result
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.tools.neutralise import IMAGE_MARK
from agentic_vlm.tools.observe import Style, code_text

LIMITS = Limits.from_params(SandboxParams(max_output_chars=60, max_value_chars=40))
TAG = re.compile(r"</?(?:think|code|tool_call|tool_response|answer|image|video)>")
TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|image_pad|>",
    "<|vision_end|>", "<|video_pad|>", "<answer>", "</answer>", "</tool_response>", "</think>",
    "<code>", "<tool_call>", "<image>", "<video>",
)  # fmt: skip
# What the host takes out of a text: a token must not come together round it.
GONE = ("\0", "\x1b[2J", "\x1b]0;title\x07", "\r", "\x7f", "\ud800", "\x1b", "\x1b]")


@st.composite
def hidden_tokens(draw: st.DrawFn) -> str:
    """Return a token with something inside it that the host removes, or none."""
    token = draw(st.sampled_from(TOKENS))
    place = draw(st.integers(0, len(token)))
    return token[:place] + draw(st.sampled_from(("", *GONE, *TOKENS))) + token[place:]


texts = st.lists(
    st.one_of(
        hidden_tokens(),
        st.sampled_from(("\n", "```", "assistant\n", "x" * 30, "<", "|>", "im_end")),
        st.text(max_size=5),
    ),
    max_size=5,
).map("".join)


@settings(deadline=None)  # A busy machine is no fault.
@given(
    texts,
    texts,
    texts,
    st.sampled_from([one for one in CellStatus if one is not CellStatus.CRASHED]),
    st.sampled_from(("full", "compact")),
)
def test_no_claim_of_a_session_becomes_a_token_a_tag_or_a_picture(
    renderer: Renderer, stdout: str, stderr: str, value: str, status: CellStatus, style: Style
) -> None:
    # As it comes over the wire, lone surrogates included.
    claim = json.loads(
        json.dumps(
            {
                "status": status,
                "stdout": stdout,
                "stderr": stderr,
                "value": value,
                "error_class": value,
                "sizes": [],
                "num_dropped_chars": 0,
                "num_dropped_images": 0,
                "cpu_s": 0,
            }
        )
    )
    result, _ = parse_result(claim, LIMITS)
    # Raw output of a process is cleaned on its own, then appended.
    result = dataclasses.replace(result, stdout=result.stdout + clean_text(stderr))
    text = code_text(result, style=style, num_images=0).text
    assert IMAGE_MARK not in text
    assert not TAG.search(text)
    context = renderer.render_prompt("", "Q", [])
    plain = renderer.render_observation(context, "x", [])
    shown = renderer.render_observation(context, text, [])
    controls = set(renderer.tokenizer.all_special_ids)
    assert [one for one in shown.ids if one in controls] == [
        one for one in plain.ids if one in controls
    ]
