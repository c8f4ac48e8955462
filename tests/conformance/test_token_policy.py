"""What every policy that works on token ids keeps to: in this process, beside it, behind HTTP."""

import asyncio
import copy
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Completion, FinishReason, Policy, Request, SamplingParams
from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.fake_vllm import FakeVLLM
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.model_engine import ModelEngine
from agentic_vlm.backends.vllm_engine import EngineLimits, VLLMEngine
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import ExactnessError
from agentic_vlm.params import VisionParams
from agentic_vlm.training.weights import iter_weights
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

_VISION = VisionParams()
_SAMPLED = SamplingParams(1.0, 12, ("</code>", "</answer>"), 5)


class Member(Protocol):
    """Opens a policy, and changes the weights that it samples from."""

    def open(self, model: Any, processor: Any) -> Any: ...

    async def update(self, policy: Any, model: Any, folder: Path) -> None: ...


class InProcess:
    @asynccontextmanager
    async def open(self, model: Any, processor: Any) -> AsyncIterator[Policy]:
        policy = InProcessPolicy(model, processor, policy_id="m", is_deterministic=False)
        try:
            yield policy
        finally:
            await policy.close()

    async def update(self, policy: InProcessPolicy, model: Any, folder: Path) -> None:
        policy.sampler.encoder.clear()


class OverHTTP:
    """The server has a copy of the model: what it knows of an update came by `load_weights`."""

    @asynccontextmanager
    async def open(self, model: Any, processor: Any) -> AsyncIterator[Policy]:
        fake = FakeVLLM(copy.deepcopy(model), processor)
        policy = VLLMPolicy(VLLMServer(await fake.start()), processor, policy_id="m")
        try:
            yield policy
        finally:
            await policy.close()
            await fake.stop()

    async def update(self, policy: VLLMPolicy, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        await policy.load_weights(folder)


class Colocated:
    """The engine has a copy of the model: what it knows of an update came by `load`."""

    @asynccontextmanager
    async def open(self, model: Any, processor: Any) -> AsyncIterator[Policy]:
        policy = ColocatedPolicy(ModelEngine(model, processor), processor, policy_id="m")
        try:
            yield policy
        finally:
            await policy.close()

    async def update(self, policy: ColocatedPolicy, model: Any, folder: Path) -> None:
        policy.rest()
        policy.load(iter_weights(model))


class OnCard(Colocated):
    """vLLM itself; one engine for each form of the head, which gets the weights of every test."""

    def __init__(self) -> None:
        self._engines: dict[bool, VLLMEngine] = {}

    @asynccontextmanager
    async def open(self, model: Any, processor: Any) -> AsyncIterator[Policy]:
        pytest.importorskip("vllm", reason="the extra `gpu` is not installed")
        is_tied = bool(model.config.tie_word_embeddings)
        if is_tied not in self._engines:
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                processor.save_pretrained(folder)
                limits = EngineLimits(2048, 8, "float32", 0.3)
                self._engines[is_tied] = VLLMEngine.open(Path(folder), limits)
        policy = ColocatedPolicy(self._engines[is_tied], processor, policy_id="m")
        policy.load(iter_weights(model))
        yield policy
        policy.rest()


@pytest.fixture(
    params=[
        pytest.param(InProcess(), id="in_process"),
        pytest.param(OverHTTP(), id="vllm"),
        pytest.param(Colocated(), id="colocated"),
        pytest.param(OnCard(), id="vllm_colocated", marks=pytest.mark.gpu),
    ]
)
def member(request: pytest.FixtureRequest) -> Member:
    found: Member = request.param
    return found


@dataclass
class Parts:
    model: Any
    processor: Any
    renderer: Renderer

    def context(self, number: int, *, num_pictures: int = 1) -> TokenContext:
        rng = derive_rng(number)
        images = [make_plates(rng, difficulty=0).render(rng) for _ in range(num_pictures)]
        text = "<image>" * num_pictures + f"Which plate is number {number}?"
        return self.renderer.render_prompt("", text, images, episode_id=f"e{number}")


@pytest.fixture(scope="module")
def processor() -> Any:
    torch.set_num_threads(1)
    return build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)


@pytest.fixture
def parts(processor: Any) -> Parts:
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    return Parts(model, processor, Renderer(processor.tokenizer, vision=_VISION))


def make_request(context: TokenContext) -> Request:
    return Request(context.episode_id, 0, [], context.ids, context.images, "", seal=context.seal())


def ask(
    member: Member, parts: Parts, params: SamplingParams, *contexts: TokenContext
) -> list[Completion]:
    async def go() -> list[Completion]:
        async with member.open(parts.model, parts.processor) as policy:
            policy.expect(len(contexts))
            requests = [make_request(context) for context in contexts]
            outs = await asyncio.gather(*(policy.complete(one, params) for one in requests))
            for request in requests:
                policy.done(request.episode_id)
            return list(outs)

    return asyncio.run(go())


def forward(parts: Parts, context: TokenContext, ids: tuple[int, ...]) -> list[float]:
    """Return the log-probabilities of sampled ids from one pass of their row alone."""
    row = torch.tensor([context.ids + list(ids)])
    inputs = {"input_ids": row, "mm_token_type_ids": (row == parts.processor.image_token_id).int()}
    if context.images:
        inputs.update(parts.processor.image_processor(images=context.images, return_tensors="pt"))
    with torch.no_grad():
        scores = parts.model(**inputs).logits[0, :-1].float().log_softmax(-1)
    chosen = scores.gather(1, row[0, 1:, None])[:, 0]
    found: list[float] = chosen[len(context.ids) - 1 :].tolist()
    return found


@pytest.mark.parametrize("num_pictures", [0, 1, 3])
def test_log_probabilities_are_those_of_the_model_that_samples(
    member: Member, parts: Parts, num_pictures: int
) -> None:
    context = parts.context(1, num_pictures=num_pictures)
    (out,) = ask(member, parts, _SAMPLED, context)
    assert out.token_ids is not None
    assert out.logprobs == pytest.approx(forward(parts, context, out.token_ids), abs=1e-4)
    kept = out.token_ids[: len(out.token_ids) - (out.finish_reason is FinishReason.STOP)]
    assert parts.processor.tokenizer.decode(kept) in out.text


def test_a_turn_depends_on_its_seed_and_on_nobody_beside_it(member: Member, parts: Parts) -> None:
    contexts = [parts.context(number, num_pictures=number % 3) for number in range(5)]
    together = ask(member, parts, _SAMPLED, *contexts)
    alone = [ask(member, parts, _SAMPLED, context)[0] for context in contexts]
    assert [out.token_ids for out in together] == [out.token_ids for out in alone]
    (other,) = ask(member, parts, replace(_SAMPLED, seed=6), contexts[0])
    assert other.token_ids != together[0].token_ids


def test_all_members_sample_the_same(parts: Parts) -> None:
    contexts = [parts.context(number, num_pictures=number % 3) for number in range(4)]
    for params in (_SAMPLED, replace(_SAMPLED, temperature=0.0)):
        here, there, beside = (
            [(out.token_ids, out.text) for out in ask(one, parts, params, *contexts)]
            for one in (InProcess(), OverHTTP(), Colocated())
        )
        assert here == there == beside


def test_a_turn_ends_at_its_limit(member: Member, parts: Parts) -> None:
    (out,) = ask(member, parts, replace(_SAMPLED, max_tokens=1, stop=()), parts.context(1))
    assert len(out.token_ids or ()) == 1
    assert out.finish_reason is FinishReason.LENGTH


def test_a_turn_ends_with_a_stop_string_of_several_tokens(member: Member, parts: Parts) -> None:
    (free,) = ask(member, parts, replace(_SAMPLED, stop=()), parts.context(1))
    tokenizer = parts.processor.tokenizer
    stop = tokenizer.decode((free.token_ids or ())[2:4])
    assert len(tokenizer.encode(stop, add_special_tokens=False)) > 1
    (out,) = ask(member, parts, replace(_SAMPLED, stop=(stop,)), parts.context(1))
    assert out.token_ids == (free.token_ids or ())[:4]
    assert out.text.endswith(stop)
    assert out.finish_reason is FinishReason.STOP


def test_a_turn_ends_with_a_stop_string_of_one_token(member: Member, parts: Parts) -> None:
    _prefer(parts, "</code>")
    (out,) = ask(member, parts, replace(_SAMPLED, temperature=0.0), parts.context(1))
    assert (out.text, len(out.token_ids or ())) == ("</code>", 1)
    assert out.finish_reason is FinishReason.STOP


def test_the_end_of_a_turn_is_a_token_and_no_text(member: Member, parts: Parts) -> None:
    _prefer(parts, "<|im_end|>")
    (out,) = ask(member, parts, replace(_SAMPLED, temperature=0.0), parts.context(1))
    assert (out.text, len(out.token_ids or ())) == ("", 1)
    assert out.finish_reason is FinishReason.STOP


def test_placeholders_are_never_sampled(member: Member, parts: Parts) -> None:
    _prefer(parts, "<|image_pad|>")
    for temperature in (0.0, 1.0):
        (out,) = ask(member, parts, replace(_SAMPLED, temperature=temperature), parts.context(1))
        assert parts.processor.image_token_id not in (out.token_ids or ())


def test_swapped_pictures_and_tokens_are_refused(member: Member, parts: Parts) -> None:
    context = parts.context(1, num_pictures=2)

    async def go(change: Callable[[Request], Request]) -> None:
        async with member.open(parts.model, parts.processor) as policy:
            await policy.complete(change(make_request(context)), _SAMPLED)

    def swap(request: Request) -> Request:
        return replace(request, images=request.images[::-1])

    def drop(request: Request) -> Request:
        return replace(request, prompt_ids=(request.prompt_ids or [])[:-1])

    with pytest.raises(ExactnessError, match="episode e1, turn 0, image 1: sampler"):
        asyncio.run(go(swap))
    with pytest.raises(ExactnessError, match="episode e1, turn 0: sampler"):
        asyncio.run(go(drop))


def test_an_update_of_the_weights_reaches_the_next_turn(
    member: Member, parts: Parts, tmp_path: Path
) -> None:
    """The vision tower's too: what was made of pictures with the old one must be forgotten."""
    context = parts.context(1)

    async def go() -> Completion:
        async with member.open(parts.model, parts.processor) as policy:
            await policy.complete(make_request(context), _SAMPLED)
            with torch.no_grad():
                for parameter in parts.model.parameters():
                    parameter.mul_(1.05)
            await member.update(policy, parts.model, tmp_path / "weights")
            out: Completion = await policy.complete(make_request(context), _SAMPLED)
            return out

    out = asyncio.run(go())
    assert out.token_ids is not None
    assert out.logprobs == pytest.approx(forward(parts, context, out.token_ids), abs=1e-4)


def _prefer(parts: Parts, text: str) -> None:
    """Make a token by far the likeliest one to begin the turn of context 1 with."""
    context = parts.context(1)
    token = parts.processor.tokenizer.convert_tokens_to_ids(text)
    row = torch.tensor([context.ids])
    with torch.no_grad():
        hidden = parts.model.model(
            input_ids=row,
            mm_token_type_ids=(row == parts.processor.image_token_id).int(),
            **parts.processor.image_processor(images=context.images, return_tensors="pt"),
        ).last_hidden_state[0, -1]
        parts.model.config.tie_word_embeddings = False
        weight = parts.model.lm_head.weight.clone()
        weight[token] = 20 * hidden / hidden.norm()
    parts.model.lm_head.weight = torch.nn.Parameter(weight)
