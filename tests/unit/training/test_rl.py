"""RL on TRL: the contract that `_generate` stands on, and what a failure of ours does."""

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import trl
from PIL import Image
from transformers import TrainerCallback
from trl import GRPOTrainer, SFTTrainer

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Request
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import BackendUnavailable, ExactnessError, SandboxUnavailable
from agentic_vlm.params import AgentParams, GradingParams, SearchParams, TrainRlParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox, FakeSession
from agentic_vlm.schema import AnswerType, CuratedSample, ImageRef
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit
from agentic_vlm.training import rl as rl_module
from agentic_vlm.training.groups import check_groups, flat_groups, roll_lively
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rl import AgentGRPOTrainer, train_rl
from agentic_vlm.training.rollouts import (
    RewardedEpisode,
    Roller,
)
from agentic_vlm.world.base_model import build_model
from tests.unit.training.conftest import alone_logprobs, picture

_CODE = "Look.</think><code>\n```python\nimage_1\n```\n</code>"
_PARAMS = TrainRlParams(
    num_steps=1, prompts_per_step=2, group_size=4, learning_rate=1e-3, save_every=1
)


_SHOWN = CellResult(
    CellStatus.OK, "", "", "", "", (picture(99).resize((56, 56)),), 0, 0, 0.0, 0.0, False
)


class _Pictures:
    def get(self, picture_ref: ImageRef) -> Image.Image:
        return picture(int(picture_ref.sha256, 16))


def _sample(number: int, *, has_picture: bool) -> CuratedSample:
    images = (ImageRef(sha256=f"{number:064x}", width_px=448, height_px=448),)
    return CuratedSample(
        sample_id=f"s{number}",
        source="test",
        source_row_id=str(number),
        split="train",
        family="reasoning",
        question=f"What is {number}?",
        answer=str(number),
        answer_type=AnswerType.INTEGER,
        images=images if has_picture else (),
    )


def _write(request: Request) -> str:
    """Answer right after as many looks as the attempt's number says; odd attempts are wrong."""
    asked = request.messages[-1 - 2 * request.turn].text
    number = int("".join(sign for sign in asked if sign.isdigit()))
    kind = int(request.episode_id, 16) % 3
    lead = "<think>" if request.turn == 0 else ""
    if request.turn < kind:
        return lead + _CODE
    return f"{lead}It is so.</think><answer>{number if kind else 0}</answer>"


def make_roller(
    renderer: Renderer,
    loop: LoopThread,
    *,
    write: Any = _write,
    params: TrainRlParams = _PARAMS,
    more: Sequence[CuratedSample] = (),
) -> Roller:
    kit = Toolkit(
        agent=AgentParams(max_infrastructure_retries=0),
        vision=VisionParams(),
        search=SearchParams(),
        sandbox=FakeSandbox({"image_1": _SHOWN}),
        provider=FakeSearch(),
    )
    samples = [_sample(1, has_picture=True), _sample(2, has_picture=False), *more]
    return Roller(
        ScriptedPolicy(write, encoder=renderer),
        renderer=renderer,
        kit=kit,
        loop=loop,
        samples={sample.sample_id: sample for sample in samples},
        pictures=_Pictures(),
        params=params,
        grading=GradingParams(),
        seed=0,
    )


class _Run(NamedTuple):
    """What came out of a training."""

    steps: list[tuple[int, Sequence[RewardedEpisode], Sequence[float | None]]]
    """Step, rollouts and advantages."""
    log: list[dict[str, float]]


def _train(
    model: Any, processor: Any, roller: Roller, scratch: Path, params: TrainRlParams = _PARAMS
) -> _Run:
    steps: list[tuple[int, Sequence[RewardedEpisode], Sequence[float | None]]] = []
    log = train_rl(
        model,
        processor,
        roller,
        ["s1", "s2"],
        params,
        seed=0,
        scratch=scratch,
        on_weights=lambda: None,
        on_rollouts=lambda step, rows, advantages: steps.append((step, list(rows), advantages)),
        on_step=lambda step: None,
    )
    return _Run(steps, log)


def test_trl_scores_episodes_with_0_to_3_pictures_as_single_forward_passes_do(
    model: Any,
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[float] = []

    class Probed(AgentGRPOTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            out = super()._generate_and_score_completions(inputs)
            full = torch.cat([out["prompt_ids"], out["completion_ids"]], 1)
            mask = torch.cat([out["prompt_mask"], out["completion_mask"]], 1)
            with torch.no_grad():
                scores, _, _ = self._get_per_token_logps_and_entropies(
                    self.model,
                    full,
                    mask,
                    out["completion_ids"].size(1),
                )
            for at, rollout in enumerate(self.rollouts):
                context = rollout.episode.context
                assert context is not None
                theirs = alone_logprobs(self.model, self.processing_class, context)
                trained = torch.tensor(context.loss_mask)
                on = (
                    out["completion_mask"][at, : len(trained)]
                    * out["tool_mask"][at, : len(trained)]
                )
                assert on.bool().tolist() == context.loss_mask
                checked.append(float((scores[at, : len(trained)] - theirs)[trained].abs().max()))
            return out

    monkeypatch.setattr(rl_module, "AgentGRPOTrainer", Probed)
    steps = _train(model, processor, make_roller(renderer, loop), tmp_path).steps
    num_pictures = {len(rollout.episode.context.images) for rollout in steps[0][1]}  # type: ignore[union-attr]
    assert len(checked) == 8
    assert len(num_pictures) > 2
    assert max(checked) < 1e-4


def test_right_answers_get_positive_and_wrong_ones_negative_advantages(
    model: Any, processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    run = _train(model, processor, make_roller(renderer, loop), tmp_path)
    ((step, rollouts, advantages),) = run.steps
    assert step == 0
    for group in {rollout.group_id for rollout in rollouts}:
        pairs = [
            (rollout.reward, advantage)
            for rollout, advantage in zip(rollouts, advantages, strict=True)
            if rollout.group_id == group
        ]
        assert sum(advantage or 0.0 for _, advantage in pairs) == pytest.approx(0.0, abs=1e-4)
        if len({reward for reward, _ in pairs}) > 1:
            assert max(pairs)[1] > 0 > min(pairs)[1]  # type: ignore[operator]


def test_an_outage_leaves_a_rollout_out_of_its_group(
    model: Any, processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    failed: list[str] = []

    def write(request: Request) -> str:
        if not failed or request.episode_id in failed:
            failed.append(request.episode_id)
            raise BackendUnavailable("server", "is gone", "start it")
        return _write(request)

    run = _train(model, processor, make_roller(renderer, loop, write=write), tmp_path)
    ((_, rollouts, advantages),) = run.steps
    lost = [at for at, rollout in enumerate(rollouts) if rollout.reward is None]
    assert len(lost) == 1
    assert advantages[lost[0]] is None
    group = [
        advantages[at]
        for at, rollout in enumerate(rollouts)
        if rollout.group_id == rollouts[lost[0]].group_id and at != lost[0]
    ]
    assert sum(value or 0.0 for value in group) == pytest.approx(0.0, abs=1e-4)


class _Update(NamedTuple):
    rollouts: Sequence[RewardedEpisode]
    advantages: Sequence[float | None]
    gradients: dict[str, torch.Tensor]
    twin: Any
    """A model with the weights before the update."""


def _one_update(
    processor: Any,
    roller: Roller,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    params: TrainRlParams = _PARAMS,
) -> _Update:
    """Run one step and return the gradient that the optimiser got."""
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    gradients: dict[str, torch.Tensor] = {}

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, **options: Any) -> None:
            gradients.update({name: p.grad.clone() for name, p in model.named_parameters()})

    monkeypatch.setattr(rl_module, "StepReporter", lambda on_step: Keep())
    ((_, rollouts, advantages),) = _train(model, processor, roller, scratch, params).steps
    twin = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    return _Update(rollouts, advantages, gradients, twin)


def _check_gradient(processor: Any, update: _Update, advantages: Sequence[float]) -> None:
    """Compare with a plain token-mean loss, one forward pass per rollout, clipped to norm 1."""
    loss, num_tokens = torch.zeros(()), 0
    for rollout, advantage in zip(update.rollouts, advantages, strict=True):
        context = rollout.episode.context
        assert context is not None
        if advantage:
            trained = torch.tensor(context.loss_mask)
            scores = alone_logprobs(update.twin, processor, context, has_gradient=True)
            loss = loss - advantage * scores[trained].sum()
            num_tokens += int(trained.sum())
    (loss / num_tokens).backward()
    norm = torch.stack([p.grad.norm() for p in update.twin.parameters()]).norm()
    clip = min(1.0, 1.0 / float(norm))
    for name, parameter in update.twin.named_parameters():
        expected = clip * parameter.grad
        scale = float(expected.abs().max())
        assert torch.allclose(update.gradients[name], expected, atol=1e-3 * scale + 1e-9), name


def test_the_update_is_that_of_the_policy_gradient_over_all_rollouts(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Packed rows without flat groups give the gradient of a plain loss over every rollout."""
    update = _one_update(processor, make_roller(renderer, loop), tmp_path, monkeypatch)
    _check_gradient(processor, update, [value or 0.0 for value in update.advantages])


@pytest.mark.parametrize("freezes", [True, False])
def test_the_vision_tower_moves_unless_it_is_frozen(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    freezes: bool,
) -> None:
    params = _PARAMS.model_copy(update={"freeze_vision": freezes})
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    _train(model, processor, make_roller(renderer, loop, params=params), tmp_path, params)
    moved = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    assert any(".visual." in name for name in moved) is not freezes
    assert any(".visual." not in name for name in moved)
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [1e-3] * 4), ("linear", [1e-3, 7.5e-4, 5e-4, 2.5e-4])],
)
def test_the_rate_stays_or_falls_with_every_update(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    schedule: str,
    rates: list[float],
) -> None:
    changes = {"learning_rate_schedule": schedule, "num_steps": 2, "num_minibatches": 2}
    params = TrainRlParams.model_validate(_PARAMS.model_dump() | changes)
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    roller = make_roller(renderer, loop, params=params)
    log = _train(model, processor, roller, tmp_path, params).log
    assert [row["learning_rate"] for row in log if "learning_rate" in row] == pytest.approx(rates)


def test_under_outages_the_update_is_that_on_the_unaffected_rollouts(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """15 % of the episodes lose their sandbox or their search; nothing of them is trained on."""
    params = _PARAMS.model_copy(update={"group_size": 10})
    hit: list[str] = []

    class Flaky(FakeSandbox):
        async def open(self, images: Sequence[Image.Image], *, seed: int) -> FakeSession:
            if seed % 100 < 15:
                hit.append("sandbox")
                raise SandboxUnavailable("sandbox", "is gone", "start it")
            return await super().open(images, seed=seed)

    def write(request: Request) -> str:
        # Some episodes search instead, and one search in seven fails.
        if request.turn == 0 and int(request.episode_id, 16) % 7 == 1:
            return '<think>Ask.</think><tool_call>{"name": "image_search"}</tool_call>'
        return _write(request)

    roller = make_roller(renderer, loop, write=write, params=params)
    roller.kit = dataclasses.replace(
        roller.kit, sandbox=Flaky({"image_1": _SHOWN}), provider=FakeSearch(num_outages=2)
    )
    update = _one_update(processor, roller, tmp_path, monkeypatch, params)
    lost = [rollout for rollout in update.rollouts if rollout.reward is None]
    assert hit
    assert 2 <= len(lost) <= 8
    expected = []
    for rollout in update.rollouts:
        rest = torch.tensor(
            [
                other.reward
                for other in update.rollouts
                if other.group_id == rollout.group_id and other.reward is not None
            ]
        )
        spread = float(rest.std()) + 1e-4
        gain = None if rollout.reward is None else (rollout.reward - float(rest.mean())) / spread
        expected.append(gain)
    found = [pytest.approx(value, abs=1e-3) for value in update.advantages if value is not None]
    assert [value for value in expected if value is not None] == found
    _check_gradient(processor, update, [value or 0.0 for value in expected])


def test_a_token_changed_in_the_buffer_is_refused(
    model: Any,
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Swapping(AgentGRPOTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            out = super()._generate_and_score_completions(inputs)
            out["completion_ids"][1, 0] += 1
            return out

    monkeypatch.setattr(rl_module, "AgentGRPOTrainer", Swapping)
    with pytest.raises(ExactnessError, match="turn 0: buffer"):
        _train(model, processor, make_roller(renderer, loop), tmp_path)


class Killed(Exception):
    """Stands for a kill between sampling and update."""


def test_kept_rollouts_are_trained_on_after_a_kill_and_not_sampled_again(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    params = _PARAMS.model_copy(update={"keep_rollouts": True})

    def run(write: Any, on_rollouts: Any) -> dict[str, torch.Tensor]:
        model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
        train_rl(
            model,
            processor,
            make_roller(renderer, loop, write=write, params=params),
            ["s1", "s2"],
            params,
            seed=0,
            scratch=tmp_path,
            on_weights=lambda: None,
            on_rollouts=on_rollouts,
            on_step=lambda step: None,
        )
        state: dict[str, torch.Tensor] = model.state_dict()
        return state

    sampled: list[RewardedEpisode] = []

    def die(step: int, rollouts: Sequence[RewardedEpisode], advantages: Any) -> None:
        sampled.extend(rollouts)
        raise Killed

    def refuse(request: Request) -> str:
        raise AssertionError("sampled again")

    with pytest.raises(Killed):
        run(_write, die)
    again: list[RewardedEpisode] = []
    run(refuse, lambda step, rollouts, advantages: again.extend(rollouts))
    assert [one.episode.trajectory for one in again] == [one.episode.trajectory for one in sampled]
    assert [one.reward for one in again] == [one.reward for one in sampled]


def test_rollouts_that_changed_groups_are_refused(renderer: Renderer, loop: LoopThread) -> None:
    rollouts = make_roller(renderer, loop).roll(["s1"] * 4 + ["s2"] * 4, step=0)
    check_groups(rollouts, group_size=4, step=0)
    rollouts[3], rollouts[4] = rollouts[4], rollouts[3]
    with pytest.raises(ExactnessError, match="rollouts 0 to 3: they belong to 2 groups"):
        check_groups(rollouts, group_size=4, step=0)


def test_other_prompts_take_the_place_of_flat_groups(renderer: Renderer, loop: LoopThread) -> None:
    def write(request: Request) -> str:
        if "What is 1?" in request.messages[-1 - 2 * request.turn].text:
            return "<think>So.</think><answer>1</answer>"
        return _write(request)

    roller = make_roller(renderer, loop, write=write, more=[_sample(3, has_picture=False)])
    ids = ["s1"] * 8 + ["s2"] * 8
    plain = roll_lively(roller, ids, step=0, version=0, rounds=0)
    assert flat_groups(plain) == ["s1"]
    lively = roll_lively(roller, ids, step=0, version=0, rounds=2)
    assert [one.sample.sample_id for one in lively] == ["s3"] * 8 + ["s2"] * 8
    assert flat_groups(lively) == []
    numbers = [one.episode.trajectory.attempt for one in lively]
    assert numbers == [*range(8), *range(8)]


def test_long_rollouts_lose_reward_little_by_little(renderer: Renderer, loop: LoopThread) -> None:
    limits = {"soft_limit_tokens": 100, "hard_limit_tokens": 200}
    roller = make_roller(renderer, loop, params=_PARAMS.model_copy(update=limits))
    penalties = [roller._length_penalty(length) for length in (50, 100, 150, 200, 900)]
    assert penalties == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert make_roller(renderer, loop)._length_penalty(900) == 0.0


def test_the_private_parts_of_trl_that_we_stand_on_are_as_they_were() -> None:
    """TRL is pinned; whoever moves the pin reads this list first."""
    assert trl.__version__ == "1.16.0"
    scores = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies)
    assert list(scores.parameters)[:6] == [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
    ]
    assert list(inspect.signature(GRPOTrainer._compute_loss).parameters) == [
        "self",
        "model",
        "inputs",
    ]
    assert list(inspect.signature(GRPOTrainer._generate).parameters) == ["self", "prompts"]
    step = inspect.getsource(GRPOTrainer._prepare_inputs)
    for name in ("_buffered_inputs", "steps_per_generation", "num_iterations", "self._step"):
        assert name in step
    order = inspect.getsource(GRPOTrainer._get_train_sampler)
    for name in ("mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed"):
        assert f"{name}=" in order
    sft = inspect.getsource(SFTTrainer.compute_loss)
    assert "model(**inputs, fused_lm_head=True)" in sft
    for name in ("log_probs", "label_mask", "entropy", "is_top1"):
        assert f"outputs.{name}" in sft
