"""Keys and values kept between turns: the same tokens as when every context is read again."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.generate import Row, Sampler
from agentic_vlm.backends.kept import ContextMemory, KeptContext
from agentic_vlm.params import VisionParams
from agentic_vlm.world.base_model import build_processor
from tests.unit.training.conftest import FAMILIES, build_family, picture

_VISION = VisionParams()


@pytest.fixture(scope="module")
def processor() -> Any:
    torch.set_num_threads(1)
    return build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)


@pytest.fixture(scope="module")
def renderer(processor: Any) -> Renderer:
    return Renderer(processor.tokenizer, vision=_VISION)


def begin(renderer: Renderer) -> list[TokenContext]:
    """Return two members of a group, an episode with two pictures and one without any."""
    shown = picture(1)
    asked = [("<image>What?", [shown]), ("<image>What?", [shown])]
    asked += [("<image><image>Which?", [picture(2), picture(3)]), ("How many?", [])]
    return [
        renderer.render_prompt("", text, images, episode_id=f"e{number}")
        for number, (text, images) in enumerate(asked)
    ]


def make_rows(contexts: list[TokenContext], *, turn: int, temperature: float) -> list[Row]:
    return [
        Row(
            ids=context.ids,
            images=context.images,
            temperature=temperature,
            # Rows of a batch end at different times.
            max_tokens=3 + 2 * number,
            seed=10 * turn + number,
            stop_ids=frozenset(),
            stop_texts=(),
            seal=context.seal(),
            episode_id=context.episode_id,
        )
        for number, context in enumerate(contexts)
    ]


def play(sampler: Sampler, renderer: Renderer, *, temperature: float) -> list[TokenContext]:
    """Play three turns; tools answer with a picture, with text, or with both."""
    contexts = begin(renderer)
    for turn in range(3):
        outs = sampler.continue_rows(make_rows(contexts, turn=turn, temperature=temperature))
        for number, (context, out) in enumerate(zip(contexts, outs, strict=True)):
            context.append_policy(out.ids, out.logprobs)
            crops = [picture(50 + number).resize((56, 56))] if (turn + number) % 2 else []
            renderer.append_observation(context, "<image>" * len(crops) + f"Seen {number}.", crops)
    return contexts


def make_sampler(model: Any, processor: Any, memory: ContextMemory | None) -> Sampler:
    return Sampler(model, processor, banned_ids=[processor.image_token_id], turn_memory=memory)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_turns_are_the_same_with_and_without_what_was_kept(
    processor: Any, renderer: Renderer, family: str, temperature: float
) -> None:
    model = build_family(processor, family)
    memory = ContextMemory(max_bytes=2**30)
    kept = play(make_sampler(model, processor, memory), renderer, temperature=temperature)
    again = play(make_sampler(model, processor, None), renderer, temperature=temperature)
    assert [context.ids for context in kept] == [context.ids for context in again]
    for one, other in zip(kept, again, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    # Everything but the last token of each turn that went on was not read again.
    expected = [
        len(context.prompt_ids) + end - 1 for context in kept for _, end in context.turn_spans[:-1]
    ]
    assert memory.num_reused == sum(expected)


def test_what_was_kept_is_forgotten_with_the_weights(processor: Any, renderer: Renderer) -> None:
    outs = []
    for memory in (ContextMemory(max_bytes=2**30), None):
        model = build_family(processor, "qwen3_vl")
        sampler = make_sampler(model, processor, memory)
        contexts = begin(renderer)
        first = sampler.continue_rows(make_rows(contexts, turn=0, temperature=0.0))
        for context, out in zip(contexts, first, strict=True):
            context.append_policy(out.ids, out.logprobs)
            renderer.append_observation(context, "Seen.", [])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        sampler.forget()
        outs.append(sampler.continue_rows(make_rows(contexts, turn=1, temperature=0.0)))
    for kept, again in zip(*outs, strict=True):
        assert kept.ids == again.ids
        assert kept.logprobs == pytest.approx(again.logprobs, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keeps_turns", [False, True])
def test_a_prompt_that_was_kept_is_not_read_again(
    processor: Any, renderer: Renderer, family: str, keeps_turns: bool
) -> None:
    """Two attempts at the same prompts, one after the other, of three turns each."""
    model = build_family(processor, family)
    prompts = ContextMemory(max_bytes=2**30)
    turns = ContextMemory(max_bytes=2**30) if keeps_turns else None
    banned = [processor.image_token_id]
    sampler = Sampler(model, processor, banned_ids=banned, turn_memory=turns, prompt_memory=prompts)
    plain = make_sampler(model, processor, None)
    for _ in range(2):
        kept = play(sampler, renderer, temperature=1.0)
        again = play(plain, renderer, temperature=1.0)
        assert [context.ids for context in kept] == [context.ids for context in again]
        for one, other in zip(kept, again, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    # The first turn of the first attempt reads the prompts, and later turns may have more.
    num_later = 1 if keeps_turns else 2 + 3
    sizes = [len(context.prompt_ids) - 1 for context in begin(renderer)]
    # Two of them have one prompt, which is looked up once where nothing follows it.
    assert prompts.num_reused == num_later * sum(sizes) - sizes[0]


def test_a_prompt_is_that_of_its_pictures(processor: Any, renderer: Renderer) -> None:
    model = build_family(processor, "qwen3_vl")
    banned = [processor.image_token_id]
    memory = ContextMemory(max_bytes=2**30)
    sampler = Sampler(model, processor, banned_ids=banned, prompt_memory=memory)
    plain = make_sampler(model, processor, None)
    for seed in (1, 2):
        context = renderer.render_prompt("", "<image>What?", [picture(seed)], episode_id="e")
        rows = make_rows([context], turn=0, temperature=0.0)
        (out,), (fresh,) = sampler.continue_rows(rows), plain.continue_rows(rows)
        assert (out.ids, memory.num_reused) == (fresh.ids, 0)
        assert out.logprobs == pytest.approx(fresh.logprobs, abs=1e-4)


def test_only_so_many_prompts_are_kept() -> None:
    memory = ContextMemory(max_bytes=2**30, max_contexts=2)
    for name in ("e1", "e2", "e3"):
        keep(memory, name)
    assert [name in memory for name in ("e1", "e2", "e3")] == [False, True, True]


def keep(memory: ContextMemory, name: str = "e", *, ids: tuple[int, ...] = (1, 2, 3)) -> None:
    tensors = [torch.zeros(1, len(ids), 2)]
    memory.keep(name, KeptContext(ids, ("a", "b"), tensors, tensors))


@pytest.mark.parametrize(
    ("ids", "pictures", "is_found"),
    [
        ([1, 2, 3, 4], ["a", "b"], True),
        ([1, 2, 3, 4], ["a", "b", "c"], True),
        ([1, 2, 3], ["a", "b"], False),
        ([1, 9, 3, 4], ["a", "b"], False),
        ([1, 2, 3, 4], ["b", "a"], False),
        ([1, 2, 3, 4], ["a"], False),
    ],
)
def test_only_a_context_that_goes_on_is_continued(
    ids: list[int], pictures: list[str], is_found: bool
) -> None:
    memory = ContextMemory(max_bytes=2**20)
    keep(memory)
    assert (memory.find("e", ids, pictures) is not None) is is_found
    assert memory.find("other", ids, pictures) is None


def test_the_episode_that_waited_longest_goes_first_and_one_that_ended_at_once() -> None:
    # An episode has 3 tokens x 2 numbers x 4 bytes, as keys and as values.
    memory = ContextMemory(max_bytes=2 * 48)
    keep(memory, "e1")
    keep(memory, "e2")
    assert memory.find("e1", [1, 2, 3, 4], ["a", "b"]) is not None
    keep(memory, "e3")
    left = [name for name in ("e1", "e2", "e3") if memory.find(name, [1, 2, 3, 4], ["a", "b"])]
    assert left == ["e1", "e3"]
    memory.drop("e1")
    keep(memory, "e4")
    assert memory.find("e3", [1, 2, 3, 4], ["a", "b"]) is not None
    memory.clear()
    assert memory.find("e3", [1, 2, 3, 4], ["a", "b"]) is None


def test_rows_of_nobody_are_not_kept(processor: Any, renderer: Renderer) -> None:
    memory = ContextMemory(max_bytes=2**30)
    sampler = make_sampler(build_family(processor, "qwen3_vl"), processor, memory)
    rows = make_rows(begin(renderer)[3:], turn=0, temperature=0.0)
    (out,) = sampler.continue_rows([replace(rows[0], episode_id="")])
    row = replace(rows[0], ids=rows[0].ids + out.ids + [5], seal=None)
    assert sampler.kept(row, 0) is None
