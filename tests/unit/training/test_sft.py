"""The cold start learns, leaves the vision tower alone and resumes to the same weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.errors import RecordError
from agentic_vlm.params import TrainSftParams
from agentic_vlm.training import sft
from agentic_vlm.training.sft import train_sft
from agentic_vlm.world.base_model import build_model
from tests.unit.training.conftest import mixed_contexts


class Killed(Exception):
    """Stands for a kill in the middle of a run."""


def _params(num_steps: int) -> TrainSftParams:
    return TrainSftParams(
        learning_rate=3e-3, batch_size=2, num_steps=num_steps, max_tokens=2000, save_every=4
    )


def test_the_cold_start_lowers_the_loss_and_keeps_the_vision_tower(
    model: Any, processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    curve = train_sft(
        model,
        processor,
        mixed_contexts(renderer),
        _params(15),
        seed=0,
        scratch=tmp_path,
        on_step=lambda step: None,
    )
    assert curve[-1]["loss"] < 0.85 * curve[0]["loss"]
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any("visual" in name for name in moved)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_killed_cold_start_resumes_to_the_same_weights(
    processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    def train(folder: Path, *, dies_at: int | None = None) -> dict[str, torch.Tensor]:
        def on_step(step: int) -> None:
            if step == dies_at:
                raise Killed

        model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
        train_sft(
            model,
            processor,
            mixed_contexts(renderer),
            _params(8),
            seed=0,
            scratch=folder,
            on_step=on_step,
        )
        state: dict[str, torch.Tensor] = model.state_dict()
        return state

    undisturbed = train(tmp_path / "a")
    with pytest.raises(Killed):
        train(tmp_path / "b", dies_at=6)
    resumed = train(tmp_path / "b")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


def test_many_short_rows_train_as_one_long_row_does(
    processor: Any, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain_descent(*args: Any, **options: Any) -> Any:
        # Adam would blow up the rounding of gradients near zero.
        config = sft_config(*args, **options)
        config.optim = "sgd"
        return config

    def train(folder: Path, row_tokens: int) -> dict[str, torch.Tensor]:
        model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
        train_sft(
            model,
            processor,
            mixed_contexts(renderer),
            _params(1).model_copy(update={"batch_size": 4, "row_tokens": row_tokens}),
            seed=0,
            scratch=folder,
            on_step=lambda step: None,
        )
        state: dict[str, torch.Tensor] = model.state_dict()
        return state

    sft_config = sft._config
    monkeypatch.setattr(sft, "_config", plain_descent)
    before = build_model(processor.tokenizer, seed=0, hidden=32, layers=2).state_dict()
    one, many = train(tmp_path / "a", 10_000), train(tmp_path / "b", 1)
    for name, start in before.items():
        moved = (one[name] - start).abs().max()
        assert torch.allclose(one[name], many[name], atol=1e-2 * float(moved) + 1e-8), name
    assert not torch.equal(one["lm_head.weight"], before["lm_head.weight"])


@pytest.mark.parametrize("changed", ["params", "seed", "data", "weights"])
def test_a_folder_of_another_training_is_refused(
    processor: Any, renderer: Renderer, tmp_path: Path, changed: str
) -> None:
    def train(*, is_other: bool) -> None:
        model = build_model(
            processor.tokenizer, seed=int(is_other and changed == "weights"), hidden=32, layers=2
        )
        contexts = list(mixed_contexts(renderer))
        train_sft(
            model,
            processor,
            contexts[:3] if is_other and changed == "data" else contexts,
            _params(2 if is_other and changed == "params" else 1),
            seed=int(is_other and changed == "seed"),
            scratch=tmp_path,
            on_step=lambda step: None,
        )

    train(is_other=False)
    with pytest.raises(RecordError, match=f"begun with other {changed}"):
        train(is_other=True)
