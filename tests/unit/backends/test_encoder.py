"""Features of pictures: kept exactly as long as the vision tower is the one that made them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.params import VisionParams
from agentic_vlm.training.sft import freeze_vision
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

_VISION = VisionParams()


@pytest.fixture(scope="module")
def processor() -> Any:
    torch.set_num_threads(1)
    return build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)


@pytest.fixture
def model(processor: Any) -> Any:
    return build_model(processor.tokenizer, seed=0, hidden=32, layers=2)


def _encoder(model: Any, processor: Any, **limits: int) -> PictureEncoder:
    return PictureEncoder(model, processor.image_processor, **{"max_pictures": 10, **limits})


def _pictures(*numbers: int) -> list[Image.Image]:
    rngs = [derive_rng(number) for number in numbers]
    return [make_plates(rng, difficulty=0).render(rng) for rng in rngs]


def _values(encoder: PictureEncoder, pictures: list[Image.Image]) -> list[torch.Tensor]:
    output, grids = encoder.encode(pictures)
    levels = output["deepstack_features"]
    return [grids, *output.pooler_output, *(one for level in levels for one in level)]


def test_new_weights_make_it_forget_only_where_the_tower_is_trained(
    model: Any, processor: Any
) -> None:
    encoder, pictures = _encoder(model, processor), _pictures(1, 2)
    encoder.encode(pictures)
    encoder.encode(pictures[::-1])
    assert encoder.num_encoded == 2
    encoder.forget_trained()
    encoder.encode(pictures)
    assert encoder.num_encoded == 4
    freeze_vision(model)
    encoder.forget_trained()
    encoder.encode(pictures)
    assert encoder.num_encoded == 4
    next(model.model.visual.merger.parameters()).requires_grad_(True)
    encoder.forget_trained()
    encoder.encode(pictures)
    assert encoder.num_encoded == 6


def _scale(model: Any) -> None:
    with torch.no_grad():
        next(model.model.visual.parameters()).mul_(1.5)


def _load(model: Any) -> None:
    state = {name: 1.5 * value for name, value in model.state_dict().items()}
    model.load_state_dict(state)


def _replace(model: Any) -> None:
    block = model.model.visual.blocks[0].mlp.linear_fc1
    block.weight = torch.nn.Parameter(1.5 * block.weight.detach(), requires_grad=False)


def _step(model: Any) -> None:
    tower = model.model.visual.requires_grad_(requires_grad=True)
    for parameter in tower.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.AdamW(tower.parameters(), lr=0.01).step()
    freeze_vision(model)


@pytest.mark.parametrize("change", [_scale, _load, _replace, _step])
def test_a_tower_that_was_written_to_is_noticed_though_it_is_frozen(
    model: Any, processor: Any, change: Callable[[Any], None]
) -> None:
    freeze_vision(model)
    encoder, pictures = _encoder(model, processor), _pictures(1)
    before = _values(encoder, pictures)
    change(model)
    after = _values(encoder, pictures)
    fresh = _values(_encoder(model, processor), pictures)
    assert all(torch.equal(one, other) for one, other in zip(after, fresh, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(after, before, strict=True))


def test_a_change_of_the_language_model_is_none_of_the_tower(model: Any, processor: Any) -> None:
    freeze_vision(model)
    encoder, pictures = _encoder(model, processor), _pictures(1)
    encoder.encode(pictures)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    encoder.forget_trained()
    encoder.encode(pictures)
    assert encoder.num_encoded == 1


def test_features_do_not_depend_on_what_was_encoded_beside_them(model: Any, processor: Any) -> None:
    """Else a run whose features are kept would not be the run that encodes anew."""
    pictures = [*_pictures(*range(1, 6)), _pictures(6)[0].resize((112, 224))]
    together = _encoder(model, processor).encode(pictures)[0]
    for number, picture in enumerate(pictures):
        alone = _encoder(model, processor).encode([picture])[0]
        assert torch.equal(alone.pooler_output[0], together.pooler_output[number])
        for one, all_of_them in zip(
            alone["deepstack_features"], together["deepstack_features"], strict=True
        ):
            assert torch.equal(one[0], all_of_them[number])


def test_the_longest_unused_leave_and_come_back_the_same(model: Any, processor: Any) -> None:
    pictures = _pictures(1, 2, 3)
    size = 2 * _encoder(model, processor).encode(pictures[:1])[0].pooler_output[0].nbytes
    for limits in ({"max_pictures": 2}, {"max_bytes": 2 * size}):
        encoder = _encoder(model, processor, **limits)
        first = [_values(encoder, [picture]) for picture in pictures]
        encoder.encode(pictures[1:])
        assert encoder.num_encoded == 3
        again = _values(encoder, pictures[:1])
        assert encoder.num_encoded == 4
        assert all(torch.equal(one, other) for one, other in zip(again, first[0], strict=True))


def test_a_call_gets_all_its_pictures_however_many_may_be_kept(model: Any, processor: Any) -> None:
    encoder, pictures = _encoder(model, processor, max_pictures=1), _pictures(1, 2, 3)
    assert len(encoder.encode(pictures)[0].pooler_output) == 3
    assert len(encoder.grids(pictures)) == 3


@torch.inference_mode()
def _encode_as_the_sampler_does(encoder: PictureEncoder, pictures: list[Image.Image]) -> None:
    encoder.encode(pictures)


def test_features_of_the_sampler_take_part_in_a_backward_pass(model: Any, processor: Any) -> None:
    freeze_vision(model)
    encoder, pictures = _encoder(model, processor), _pictures(1)
    _encode_as_the_sampler_does(encoder, pictures)
    (features,) = encoder.encode(pictures)[0].pooler_output
    weight = torch.ones(features.shape[1], requires_grad=True)
    (features @ weight).sum().backward()
    assert encoder.num_encoded == 1
    assert weight.grad is not None
    assert torch.allclose(weight.grad, features.sum(dim=0), rtol=1e-4)
