"""What is measured between sampler and trainer, and how much a token counts."""

import math
from typing import Any

import pytest
import torch

from agentic_vlm.agent.context import PlaceholderIds, TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.training.mismatch import (
    first_action_token,
    importance_weights,
    mismatch_figures,
    mismatch_names,
    mismatch_sums,
    sampled_logprobs,
)

_NAN = float("nan")


@pytest.mark.parametrize(
    ("before", "action"),
    [
        ("Look at the plate.</think>", "<code>\n1\n</code>"),
        ("<answer> stands in a thought.</think>", '<tool_call>{"name": "search"}</tool_call>'),
        ("", "<answer>7</answer>"),
    ],
)
def test_the_action_begins_where_the_policy_decides(
    processor: Any, before: str, action: str
) -> None:
    encode = processor.tokenizer.encode
    ids = encode(before + action, add_special_tokens=False)
    place = first_action_token(ids, processor.tokenizer)
    assert place is not None
    assert len(processor.tokenizer.decode(ids[:place])) <= len(before)
    assert len(processor.tokenizer.decode(ids[: place + 1])) > len(before)


def test_a_turn_without_action_has_no_such_token(processor: Any) -> None:
    ids = processor.tokenizer.encode("I do not know.", add_special_tokens=False)
    assert first_action_token(ids, processor.tokenizer) is None


def test_tokens_count_by_the_ratio_up_to_the_cap_and_once_where_it_is_unknown() -> None:
    trainer = torch.tensor([[-1.0, -1.0, -3.0, -1.0]])
    sampler = torch.tensor([[-1.0, -4.0, -1.0, _NAN]])
    weights = importance_weights(trainer, sampler, cap=2.0)
    assert weights.tolist()[0] == pytest.approx([1.0, 2.0, math.exp(-2.0), 1.0])


def _context(renderer: Renderer, *turns: tuple[str, float]) -> TokenContext:
    """Return an episode whose tokens all have the log-probability that stands beside the turn."""
    context = renderer.render_prompt("", "What?", [], episode_id="e")
    for text, logprob in turns:
        ids = renderer.encode_policy(text, ends_turn=False)
        context.append_policy(ids, [logprob] * len(ids))
        renderer.append_observation(context, "seen", [])
    return context


def test_the_mismatch_is_told_by_turn_and_for_the_first_token_of_actions(
    renderer: Renderer, processor: Any
) -> None:
    contexts = [
        _context(renderer, ("Look.</think><code>1</code>", -1.0), ("So.</think><answer>7", -2.0)),
        _context(renderer, ("I do not know.", -3.0)),
    ]
    length = max(len(context.completion_ids) for context in contexts)
    sampler = sampled_logprobs(contexts, length=length)
    assert sampler.isnan().sum() == 2 * length - sum(sum(one.loss_mask) for one in contexts)
    trainer = sampler.clone()
    trainer[0] += 0.1
    start, end = contexts[0].turn_spans[1]
    trainer[0, start:end] += 1.0
    place = first_action_token(contexts[0].completion_ids[start:end], processor.tokenizer)
    assert place is not None
    trainer[0, start + place] += 3.0
    sums = mismatch_sums(
        trainer, sampler, contexts, tokenizer=processor.tokenizer, cap=2.0, max_turns=3
    )
    found = mismatch_figures(sums)
    spans = [context.turn_spans for context in contexts]
    first = spans[0][0][1] - spans[0][0][0], spans[1][0][1] - spans[1][0][0]
    assert found["mismatch_turn_1"] == pytest.approx(0.1 * first[0] / sum(first), rel=1e-4)
    assert found["mismatch_turn_2"] == pytest.approx(1.1 + 3.0 / (end - start), rel=1e-4)
    assert found["mismatch_action"] == pytest.approx((0.1 + 4.1) / 2, rel=1e-4)
    assert found["mismatch_cut"] == pytest.approx((end - start) / (sum(first) + end - start))
    # Nobody had a third turn.
    assert [name for name in mismatch_names(3) if name not in found] == ["mismatch_turn_3"]


def test_sums_of_two_processes_give_the_means_of_all_tokens() -> None:
    one, two = torch.tensor([[1.0, 2.0]] * 4), torch.tensor([[5.0, 4.0]] * 4)
    assert mismatch_figures(one + two)["mismatch"] == 1.0


def test_an_episode_without_a_token_of_its_own_is_left_out(processor: Any) -> None:
    empty = TokenContext("e", PlaceholderIds(1, 2, 3), [5], [])
    sampler = sampled_logprobs([empty], length=1)
    sums = mismatch_sums(
        torch.zeros(1, 1), sampler, [empty], tokenizer=processor.tokenizer, cap=2.0, max_turns=1
    )
    assert mismatch_figures(sums) == {}
