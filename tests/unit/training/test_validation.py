"""What is held out is measured and not trained on, and measuring changes no weight."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import TrainRlParams, TrainSftParams
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rl import held_out_figures, train_rl
from agentic_vlm.training.sft import train_sft
from agentic_vlm.training.validation import hold_out
from agentic_vlm.world.base_model import build_model
from tests.unit.training.conftest import alone_logprobs, make_context
from tests.unit.training.test_rl import make_roller


def test_what_is_held_out_hangs_on_names_and_seed_alone() -> None:
    names = [f"s{number}" for number in range(40)]
    apart = hold_out(names, share=0.1, seed=0)
    assert len(apart) == 4
    assert hold_out(reversed(names), share=0.1, seed=0) == apart  # type: ignore[arg-type]
    assert hold_out(names, share=0.1, seed=1) != apart


def test_the_loss_of_held_out_trajectories_is_theirs_and_training_is_as_without(
    processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    trained = [make_context(renderer, seed=seed, num_crops=1) for seed in (1, 2)]
    apart = [
        make_context(renderer, seed=5, num_crops=1),
        make_context(renderer, seed=6, num_crops=0, has_picture=False),
    ]
    params = TrainSftParams(
        learning_rate=1e-3,
        batch_size=2,
        num_steps=3,
        max_tokens=2000,
        validation_share=0.5,
        validate_every=2,
    )

    def run(held_out: Sequence[TokenContext], name: str) -> tuple[Any, list[dict[str, float]]]:
        model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
        curve = train_sft(
            model,
            processor,
            trained,
            params,
            seed=0,
            scratch=tmp_path / name,
            on_step=lambda step: None,
            held_out=held_out,
        )
        return model, curve

    model, curve = run(apart, "with")
    plain, _ = run([], "without")
    measured = {row["step"]: row["held_out_loss"] for row in curve if "held_out_loss" in row}
    assert sorted(measured) == [2, 3]
    scores = [
        alone_logprobs(model, processor, context)[torch.tensor(context.loss_mask)]
        for context in apart
    ]
    assert measured[3] == pytest.approx(-float(torch.cat(scores).mean()), abs=1e-4)
    for one, two in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, two)


def test_held_out_samples_are_answered_at_times_and_not_trained_on(
    model: Any, processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    params = TrainRlParams(
        num_steps=2,
        prompts_per_step=1,
        group_size=4,
        num_minibatches=1,
        learning_rate=1e-3,
        save_every=1,
        validation_share=0.5,
        validate_every=1,
    )
    roller = make_roller(renderer, loop, params=params)
    trained: list[str] = []
    log = train_rl(
        model,
        processor,
        roller,
        ["s1"],
        params,
        seed=0,
        scratch=tmp_path,
        on_weights=lambda: None,
        on_rollouts=lambda step, rows, advantages: trained.extend(
            row.sample.sample_id for row in rows
        ),
        on_step=lambda step: None,
        held_out=["s2"],
    )
    assert set(trained) == {"s1"}
    found = [row for row in log if "held_out_accuracy" in row]
    assert [row["step"] for row in found] == [1, 2]
    for row in found:
        expected = held_out_figures(roller.roll_held_out(["s2"], step=int(row["step"])))
        assert {name: row[name] for name in expected} == expected
