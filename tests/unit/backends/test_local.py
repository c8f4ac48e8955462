"""The in-process policy: a row's text is its own, whoever shares the batch."""

import asyncio
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Completion, FinishReason, Request, SamplingParams
from agentic_vlm.backends.generate import Continuation, Row, Sampler
from agentic_vlm.backends.local import InProcessPolicy, load_model, load_processor
from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.params import VisionParams
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

_VISION = VisionParams()


@pytest.fixture(scope="module")
def processor() -> Any:
    torch.set_num_threads(1)
    return build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)


@pytest.fixture(scope="module")
def model(processor: Any) -> Any:
    return build_model(processor.tokenizer, seed=0, hidden=32, layers=2)


@pytest.fixture(scope="module")
def rows(processor: Any) -> list[Row]:
    renderer = Renderer(processor.tokenizer, vision=_VISION)
    found = []
    for number in range(6):
        rng = derive_rng(number // 2)
        images = [make_plates(rng, difficulty=0).render(rng)] if number < 4 else []
        text = "<image>" * len(images) + "Which plate? " * (number // 2 + 1)
        context = renderer.render_prompt("", text, images)
        found.append(
            Row(
                ids=context.ids,
                images=context.images,
                temperature=1.0,
                max_tokens=6,
                seed=number,
                stop_ids=frozenset({renderer.end_of_turn_id}),
                stop_texts=(),
            )
        )
    # Two members of one group share the picture object, as the loop's tasks do.
    found[1].images[:] = found[0].images
    return found


def _sampler(model: Any, processor: Any) -> Sampler:
    return Sampler(model, processor, banned_ids=[processor.image_token_id])


def test_a_row_is_continued_alike_alone_and_in_any_batch(
    model: Any, processor: Any, rows: list[Row]
) -> None:
    together = _sampler(model, processor).continue_rows(rows)
    backwards = _sampler(model, processor).continue_rows(rows[::-1])[::-1]
    alone = [_sampler(model, processor).continue_rows([row])[0] for row in rows]
    assert [out.ids for out in together] == [out.ids for out in alone]
    assert [out.ids for out in together] == [out.ids for out in backwards]


def test_members_of_a_group_differ_by_seed_alone(
    model: Any, processor: Any, rows: list[Row]
) -> None:
    first, second = _sampler(model, processor).continue_rows(rows[:2])
    assert rows[0].ids == rows[1].ids
    assert first.ids != second.ids


def test_logprobs_are_those_of_one_forward_pass(
    model: Any, processor: Any, rows: list[Row]
) -> None:
    outs = _sampler(model, processor).continue_rows(rows)
    for row, out in zip(rows, outs, strict=True):
        assert out.logprobs == pytest.approx(_forward(model, processor, row, out), abs=1e-4)


def _forward(
    model: Any, processor: Any, row: Row, out: Continuation, *, temperature: float = 1.0
) -> list[float]:
    ids = torch.tensor([row.ids + out.ids])
    inputs = {"input_ids": ids, "mm_token_type_ids": (ids == processor.image_token_id).int()}
    if row.images:
        inputs.update(processor.image_processor(images=row.images, return_tensors="pt"))
    with torch.no_grad():
        scores = (model(**inputs).logits[0, :-1].float() / temperature).log_softmax(-1)
    chosen = scores.gather(1, ids[0, 1:, None])[:, 0]
    found: list[float] = chosen[len(row.ids) - 1 :].tolist()
    return found


def test_banned_ids_are_never_sampled(model: Any, processor: Any, rows: list[Row]) -> None:
    kept = 300
    banned = [token for token in range(len(processor.tokenizer)) if token != kept]
    outs = Sampler(model, processor, banned_ids=banned).continue_rows(rows[:2])
    assert {token for out in outs for token in out.ids} == {kept}


def test_a_batch_forms_once_every_announced_episode_waits(
    model: Any, processor: Any, rows: list[Row]
) -> None:
    policy = InProcessPolicy(model, processor, policy_id="m")
    sizes: list[int] = []
    inner = policy.sampler.continue_rows

    def counting(batch: list[Row]) -> list[Continuation]:
        sizes.append(len(batch))
        return inner(batch)

    policy.sampler.continue_rows = counting  # type: ignore[method-assign,assignment]  # a probe

    async def ask(number: int) -> Completion:
        await asyncio.sleep(0.01 * number)
        request = Request(f"e{number}", 0, [], rows[number].ids, rows[number].images, "")
        out = await policy.complete(request, SamplingParams(1.0, 4, (), number))
        policy.done(f"e{number}")
        return out

    async def ask_all() -> list[Completion]:
        policy.expect(6)
        outs = await asyncio.gather(*(ask(number) for number in range(6)))
        await policy.close()
        return outs

    outs = asyncio.run(ask_all())
    assert sizes == [6]
    assert all(out.finish_reason in FinishReason for out in outs)
    assert all(out.token_ids is not None and out.logprobs is not None for out in outs)


def test_a_missing_checkpoint_says_what_to_run(tmp_path: Any) -> None:
    with pytest.raises(ArtifactMissing) as caught:
        load_processor(tmp_path / "sft")
    what, fix = str(caught.value).splitlines()
    assert what == f"{tmp_path}/sft: no checkpoint here"
    assert fix == "  fix: run the stage that writes it: dvc repro train_sft"


def test_a_saved_checkpoint_loads_with_its_image_processor(
    model: Any, processor: Any, tmp_path: Any
) -> None:
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = load_processor(tmp_path)
    assert loaded.image_processor.size["shortest_edge"] == _VISION.min_pixels
    again = load_model(tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_a_batch_with_shared_prompts_and_little_room_continues_as_rows_alone(
    model: Any, processor: Any, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Second turns of one group: equal prompts, other continuations, more tokens than room."""
    monkeypatch.setattr("agentic_vlm.backends.prefill._GROWTH", 2)
    header = processor.tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    turns = [
        Row(
            ids=rows[0].ids + list(range(40, 43 + 5 * number)) + header,
            images=rows[0].images,
            temperature=0.9,
            max_tokens=130 + number,
            seed=number,
            stop_ids=frozenset(),
            stop_texts=(),
        )
        for number in range(3)
    ]
    together = _sampler(model, processor).continue_rows(turns)
    alone = [_sampler(model, processor).continue_rows([row])[0] for row in turns]
    assert [len(out.ids) for out in together] == [130, 131, 132]
    assert [out.ids[:40] for out in together] == [out.ids[:40] for out in alone]
    for row, out in zip(turns, together, strict=True):
        scaled = _forward(model, processor, row, out, temperature=0.9)
        assert out.logprobs == pytest.approx(scaled, abs=1e-4)
