"""ScriptedPolicy: behaves as a sampler."""

import asyncio
from collections.abc import Sequence

import pytest

from agentic_vlm.backends.base import Completion, FinishReason, Request, SamplingParams
from agentic_vlm.backends.scripted import ScriptedPolicy, script_of
from agentic_vlm.errors import BackendUnavailable


class Letters:
    """One id per character; 0 ends a turn."""

    def encode_policy(self, text: str, *, ends_turn: bool) -> tuple[int, ...]:
        return (*map(ord, text), 0) if ends_turn else tuple(map(ord, text))

    def decode_policy(self, ids: Sequence[int]) -> str:
        return "".join(chr(token) for token in ids if token)


def complete(text: str, *, max_tokens: int = 99, turn: int = 0) -> Completion:
    policy = ScriptedPolicy(script_of({"e1": [text]}), encoder=Letters())
    request = Request("e1", turn, [], None, [], "")
    sampling = SamplingParams(1.0, max_tokens, ("</code>",), 0)
    return asyncio.run(policy.complete(request, sampling))


def test_a_turn_without_a_stop_string_ends_itself() -> None:
    assert complete("ab").token_ids == (97, 98, 0)


def test_a_stop_string_is_kept_and_what_follows_is_cut() -> None:
    completion = complete("a</code>b")
    assert completion.text == "a</code>"
    assert completion.token_ids is not None
    assert completion.token_ids[-1] == ord(">")


def test_a_long_turn_is_cut_at_its_token_limit() -> None:
    completion = complete("abc", max_tokens=2)
    assert (completion.text, completion.finish_reason) == ("ab", FinishReason.LENGTH)


def test_a_script_that_is_too_short_names_episode_and_turn() -> None:
    with pytest.raises(BackendUnavailable) as caught:
        complete("a", turn=1)
    assert str(caught.value) == (
        "scripted policy, episode e1, turn 2: the script has 1 turn(s)\n"
        "  fix: give the script a turn for every observation"
    )
