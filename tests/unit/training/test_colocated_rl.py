"""RL whose rollouts an engine of the same process samples, which rests while the model learns."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.engine import Sampled
from agentic_vlm.backends.model_engine import ModelEngine
from agentic_vlm.backends.vllm_engine import MEMORY_VARIABLE, memory_share
from agentic_vlm.errors import BackendUnavailable, InfrastructureError, ParamsError
from agentic_vlm.params import Params, TrainRlParams
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rollout_policy import Opened, follow_weights, open_rollout_policy
from tests.unit.training.conftest import build_lively, lively_params
from tests.unit.training.test_served_rl import Run, train_with


class Watched(ModelEngine):
    """Remembers in which order it was told what; a step counts once after each wake."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.told: list[str] = []

    def step(self) -> list[Sampled]:
        if self.told[-1:] != ["step"]:
            self.told.append("step")
        return super().step()

    def load(self, weights: Any) -> None:
        self.told.append("load")
        super().load(weights)

    def sleep(self) -> None:
        self.told.append("sleep")
        super().sleep()


Parts = tuple[Any, Renderer, LoopThread]


@pytest.fixture
def parts(processor: Any, renderer: Renderer, loop: LoopThread) -> Parts:
    return processor, renderer, loop


@contextmanager
def beside(model: Any, parts: Parts, *, is_fixed: bool = False) -> Iterator[tuple[Opened, Watched]]:
    """Open an engine beside the model."""
    processor, _, loop = parts
    engine = Watched(model, processor)
    policy = ColocatedPolicy(engine, processor, policy_id="m")
    opened = follow_weights(policy, model, is_fixed=is_fixed)
    yield opened, engine
    loop.run(policy.close())


def run_beside(
    parts: Parts,
    scratch: Path,
    params: TrainRlParams,
    *,
    held_out: Sequence[str] = (),
    hands_over: bool = True,
) -> tuple[Run, list[str]]:
    """Train; return what came out, and what the engine was told."""
    model = build_lively(parts[0])
    with beside(model, parts) as (opened, engine):
        run = train_with(
            model,
            opened.policy,
            parts,
            scratch,
            on_weights=opened.on_weights if hands_over else lambda: None,
            on_sampled=opened.on_sampled,
            params=params,
            held_out=held_out,
        )
    assert engine.is_asleep
    return run, engine.told


def test_each_step_is_sampled_from_its_weights_and_trained_while_the_engine_rests(
    parts: Parts, tmp_path: Path
) -> None:
    run, told = run_beside(parts, tmp_path, lively_params(num_steps=2))
    assert [row["mismatch"] < 1e-4 for row in run.log] == [True, True]
    assert any(run.advantages)
    assert told == ["sleep", "load", "step", "sleep", "load", "step", "sleep"]


def test_an_engine_that_gets_no_weights_is_seen_in_the_mismatch(
    parts: Parts, tmp_path: Path
) -> None:
    run, _ = run_beside(parts, tmp_path, lively_params(num_steps=2), hands_over=False)
    assert run.log[0]["mismatch"] < 1e-4
    assert run.log[1]["mismatch"] > 1e-2


def test_adapters_are_merged_on_the_way_to_the_engine(parts: Parts, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    run, _ = run_beside(parts, tmp_path, lively_params(num_steps=2, lora_rank=2))
    assert [row["mismatch"] < 1e-4 for row in run.log] == [True, True]


def test_what_is_sampled_ahead_or_for_validation_leaves_the_engine_at_rest_too(
    parts: Parts, tmp_path: Path
) -> None:
    params = lively_params(num_steps=2, staleness=1)
    run, told = run_beside(parts, tmp_path / "ahead", params)
    assert [row.get("mismatch", 0.0) < 1e-4 for row in run.log][:1] == [True]
    # The rollouts of steps 0 and 1 by the same weights, before the update of step 0.
    assert told[:6] == ["sleep", "load", "step", "sleep", "step", "sleep"]
    params = lively_params(num_steps=1, validate_every=1)
    _, told = run_beside(parts, tmp_path / "held", params, held_out=["s2"])
    assert told == ["sleep", "load", "step", "sleep", "load", "step", "sleep"]


def test_a_policy_that_is_imitated_keeps_the_weights_of_the_start(
    parts: Parts, tmp_path: Path
) -> None:
    model = build_lively(parts[0])
    with beside(model, parts, is_fixed=True) as (opened, engine):
        with torch.no_grad():
            model.lm_head.weight.zero_()
        opened.on_weights()
        assert float(engine._model.lm_head.weight.abs().max()) > 0
    assert engine.told == ["load", "sleep"]


class Dying(Watched):
    """Fails when it is to sample."""

    def step(self) -> list[Sampled]:
        raise torch.OutOfMemoryError("no memory on the device")


def test_an_engine_that_dies_leaves_its_rollouts_out_and_stops_the_next_step(
    parts: Parts, tmp_path: Path
) -> None:
    processor, _, loop = parts
    model = build_lively(processor)
    policy = ColocatedPolicy(Dying(model, processor), processor, policy_id="m")
    opened = follow_weights(policy, model, is_fixed=False)
    with pytest.raises(BackendUnavailable, match="lost: OutOfMemoryError: no memory on the device"):
        train_with(
            model,
            policy,
            parts,
            tmp_path,
            on_weights=opened.on_weights,
            on_sampled=opened.on_sampled,
            params=lively_params(num_steps=2),
        )
    loop.run(policy.close())


def test_a_missing_vllm_is_named_with_what_to_install(
    processor: Any, loop: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's own mark of a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "vllm", None)
    params = Params.model_validate({"model": {"policy": "vllm_colocated"}})
    with pytest.raises(InfrastructureError, match="vLLM cannot be imported") as caught:
        open_rollout_policy(
            params,
            None,
            processor,
            policy_id="m",
            checkpoint=tmp_path,
            scratch=tmp_path,
            loop=loop,
        )
    assert "extra `gpu`" in caught.value.fix


@pytest.mark.parametrize("text", ["much", "0", "1.5", "-0.1"])
def test_a_share_of_memory_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, text)
    with pytest.raises(ParamsError, match="no number between 0 and 1"):
        memory_share()
