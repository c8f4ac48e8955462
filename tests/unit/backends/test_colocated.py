"""A colocated policy: what its engine read or sampled wrongly is never a turn."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Completion, FinishReason, Request, SamplingParams
from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.engine import EnginePrompt, Sampled
from agentic_vlm.backends.model_engine import ModelEngine
from agentic_vlm.backends.turns import EngineSampling, TurnTokens
from agentic_vlm.errors import BackendUnavailable, ExactnessError
from agentic_vlm.params import VisionParams
from agentic_vlm.world.base_model import build_model, build_processor

_VISION = VisionParams()
_PARAMS = SamplingParams(1.0, 4, (), 5)
_END = 2


@pytest.fixture(scope="module")
def processor() -> Any:
    return build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)


@pytest.fixture(scope="module")
def context(processor: Any) -> TokenContext:
    images = [Image.new("RGB", (140, 112), color) for color in ("red", "blue")]
    renderer = Renderer(processor.tokenizer, vision=_VISION)
    return renderer.render_prompt("", "<image><image>Which?", images, episode_id="e1")


class Answering:
    """An engine that writes one end of turn, after somebody has spoiled it."""

    def __init__(self, context: TokenContext, spoil: Callable[[Sampled], Sampled]) -> None:
        self.context, self.spoil = context, spoil
        self.waiting: list[str] = []
        self.prompts: list[EnginePrompt] = []
        self.aborted: list[str] = []
        self.is_slow = False

    def add(self, request_id: str, prompt: EnginePrompt, sampling: EngineSampling) -> None:
        if len(self.prompts) > 8:
            raise ValueError("too many prompts")
        self.prompts.append(prompt)
        self.waiting.append(request_id)

    def step(self) -> list[Sampled]:
        if self.is_slow:
            return []
        names, self.waiting = self.waiting, []
        stop = FinishReason.STOP
        return [self.spoil(Sampled(one, self.context.ids, [_END], [-0.5], stop)) for one in names]

    def abort(self, request_ids: Sequence[str]) -> None:
        self.aborted += request_ids
        self.waiting = [one for one in self.waiting if one not in request_ids]

    def wake(self) -> None: ...

    def load(self, weights: Any) -> None: ...

    def sleep(self) -> None: ...

    def close(self) -> None: ...


def request_of(context: TokenContext) -> Request:
    return Request(context.episode_id, 0, [], context.ids, context.images, "", seal=context.seal())


def complete(processor: Any, engine: Any, request: Request) -> Completion:
    async def go() -> Completion:
        policy = ColocatedPolicy(engine, processor, policy_id="m")
        try:
            return await policy.complete(request, _PARAMS)
        finally:
            await policy.close()

    return asyncio.run(go())


def test_one_placeholder_per_picture_goes_out_with_the_names_of_the_pictures(
    processor: Any, context: TokenContext
) -> None:
    engine = Answering(context, lambda sampled: sampled)
    out = complete(processor, engine, request_of(context))
    assert (out.token_ids, out.logprobs, out.text) == ((_END,), (-0.5,), "")
    (prompt,) = engine.prompts
    pad = processor.image_token_id
    assert prompt["prompt_token_ids"].count(pad) == 2
    kept = [token for token in context.ids if token != pad]
    assert [token for token in prompt["prompt_token_ids"] if token != pad] == kept
    assert prompt["multi_modal_data"]["image"] == context.images
    digests = [placed.digest for placed in context.placed]
    assert prompt["multi_modal_uuids"] == {"image": digests}


def _other_limits(sampled: Sampled, pad: int) -> Sampled:
    ids = list(sampled.prompt_ids)
    ids.insert(ids.index(pad), pad)
    return replace(sampled, prompt_ids=ids)


def test_an_engine_with_other_pixel_limits_is_found_by_what_it_read(
    processor: Any, context: TokenContext
) -> None:
    pad = processor.image_token_id
    engine = Answering(context, lambda sampled: _other_limits(sampled, pad))
    with pytest.raises(ExactnessError, match="turn 0, image 1: the engine makes"):
        complete(processor, engine, request_of(context))
    engine = Answering(context, lambda one: replace(one, prompt_ids=one.prompt_ids[:-1]))
    with pytest.raises(ExactnessError, match="turn 0: the engine read"):
        complete(processor, engine, request_of(context))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda one: replace(one, ids=[], logprobs=[]), "0 tokens"),
        (lambda one: replace(one, ids=[9] * 5, logprobs=[-1.0] * 5), "5 tokens, 4 were asked"),
        (lambda one: replace(one, logprobs=[]), "1 tokens with 0 log-probabilities"),
        (lambda one: replace(one, logprobs=[float("nan")]), "no number up to 0"),
        (lambda one: replace(one, ids=[5]), "banned ids \\[5\\]"),
    ],
)
def test_what_cannot_be_used_is_an_outage(
    processor: Any, context: TokenContext, spoil: Callable[[Sampled], Sampled], what: str
) -> None:
    with pytest.raises(BackendUnavailable, match=what):
        complete(processor, Answering(context, spoil), request_of(context))


def test_a_request_that_nobody_waits_for_is_aborted(processor: Any, context: TokenContext) -> None:
    engine = Answering(context, lambda sampled: sampled)
    engine.is_slow = True

    async def go() -> None:
        policy = ColocatedPolicy(engine, processor, policy_id="m")
        task = asyncio.ensure_future(policy.complete(request_of(context), _PARAMS))
        while not engine.waiting:
            await asyncio.sleep(0)
        task.cancel()
        # Ends once the engine has nothing left to do.
        await policy.close()

    asyncio.run(go())
    assert engine.aborted == ["e1-0-1"]


def test_the_shipped_engine_refuses_what_vllm_would(processor: Any, context: TokenContext) -> None:
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    engine = ModelEngine(model, processor, max_context_tokens=context.num_tokens)
    with pytest.raises(BackendUnavailable, match="refused: a context of"):
        complete(processor, engine, request_of(context))
    engine = ModelEngine(model, processor)
    sampling = TurnTokens(processor.tokenizer).engine_sampling(_PARAMS)
    pad = processor.image_token_id
    with pytest.raises(ValueError, match="more placeholders than the 0 pictures"):
        engine.add("r", {"prompt_token_ids": [1, pad]}, sampling)
    with pytest.raises(ValueError, match="not that of the model"):
        engine.add("r", {"prompt_token_ids": [1]}, {**sampling, "top_p": 0.9})
    engine.add("r", {"prompt_token_ids": [1, 7]}, sampling)
    with pytest.raises(RuntimeError, match="1 requests are being sampled"):
        engine.load([])
    engine.abort(["r"])
    with pytest.raises(ValueError, match="no weight nothing"):
        engine.load([("nothing", model.lm_head.weight)])
    engine.sleep()
    with pytest.raises(RuntimeError, match="the engine sleeps"):
        engine.step()


class Breaking(Answering):
    """Breaks when it is given a request, as for want of memory."""

    def add(self, request_id: str, prompt: EnginePrompt, sampling: EngineSampling) -> None:
        raise MemoryError("none left")


def test_all_that_wait_and_all_that_ask_later_learn_of_a_broken_engine(
    processor: Any, context: TokenContext
) -> None:
    async def go() -> list[Any]:
        policy = ColocatedPolicy(
            Breaking(context, lambda sampled: sampled), processor, policy_id="m"
        )
        asked = [policy.complete(request_of(context), _PARAMS) for _ in range(3)]
        found: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
        found += await asyncio.gather(
            policy.complete(request_of(context), _PARAMS), return_exceptions=True
        )
        await policy.close()
        return found

    found = asyncio.run(asyncio.wait_for(go(), timeout=60))
    assert [type(one) for one in found] == [BackendUnavailable] * 4
    assert all("lost: MemoryError: none left" in str(one) for one in found)
