"""Rollouts one step ahead: written by the weights of one step before, corrected for, resumable."""

import asyncio
import copy
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from aiohttp import web
from transformers import TrainerCallback, TrainerControl, TrainerState

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.fake_vllm import FakeVLLM
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import ExactnessError, ParamsError
from agentic_vlm.params import AgentParams, TrainRlParams, parse_params, read_yaml
from agentic_vlm.training import rl as rl_module
from agentic_vlm.training.agent_grpo import AgentGRPOTrainer
from agentic_vlm.training.ahead import KeepsRollouts, Prompts, RolloutsAhead
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.resume import model_digest
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollouts import RewardedEpisode, make_record
from agentic_vlm.training.weights import WeightPush
from tests.unit.training.conftest import alone_logprobs, build_lively
from tests.unit.training.test_rl import _sample, make_roller

_AGENT = AgentParams(max_turns=2, max_turn_tokens=12, max_infrastructure_retries=0)
# An untrained policy is always wrong: what tells its rollouts apart is their length.
_PARAMS = TrainRlParams(
    num_steps=4,
    prompts_per_step=2,
    group_size=4,
    learning_rate=3e-3,
    save_every=2,
    soft_limit_tokens=1,
    hard_limit_tokens=60,
    staleness=1,
)
_GROUP = 8
"""Rollouts of a step."""
_PATIENCE_S = 60.0
"""Until a test that waits for what never comes gives up."""
_ROOT = Path(__file__).parents[3]


class Killed(Exception):
    """Stands for a kill."""


class Seen(NamedTuple):
    """A step as the trainer saw it."""

    step: int
    rollouts: list[RewardedEpisode]
    ratio: torch.Tensor | None


@dataclass
class Run:
    """What a training leaves behind."""

    weights: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    """By the number of updates that they had seen."""
    steps: list[Seen] = field(default_factory=list)
    mismatches: list[float | None] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)

    @property
    def versions(self) -> list[tuple[int, set[int]]]:
        return [(one.step, {row.policy_version for row in one.rollouts}) for one in self.steps]

    @property
    def tokens(self) -> dict[int, list[tuple[list[int], list[float]]]]:
        return {
            one.step: [
                (row.episode.context.ids, row.episode.context.logprobs)
                for row in one.rollouts
                if row.episode.context is not None
            ]
            for one in self.steps
        }


class Place(NamedTuple):
    """What trainings of a test share."""

    processor: Any
    renderer: Renderer
    loop: LoopThread
    scratch: Path


@pytest.fixture
def place(processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path) -> Place:
    return Place(processor, renderer, loop, tmp_path / "run")


def _train(
    place: Place,
    model: Any,
    policy: InProcessPolicy | VLLMPolicy,
    *,
    params: TrainRlParams = _PARAMS,
    on_weights: Callable[[], None] | None = None,
    on_rollouts: Callable[[int], None] = lambda step: None,
    on_step: Callable[[int], None] = lambda step: None,
    callbacks: Sequence[TrainerCallback] = (),
    held_out: Sequence[str] = (),
    run: Run | None = None,
) -> Run:
    """Train on five samples, two each step, so that every other step begins an epoch."""
    found = Run() if run is None else run
    more = [_sample(number, has_picture=number % 2 == 0) for number in (3, 4, 5, 6)]
    roller = make_roller(place.renderer, place.loop, params=params, more=more)
    roller.policy = policy
    roller.kit = replace(roller.kit, agent=_AGENT)

    class Probed(AgentGRPOTrainer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            for callback in callbacks:
                self.add_callback(callback)

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            step = self.state.global_step
            found.weights[step] = copy.deepcopy(model.state_dict())
            out = super()._generate_and_score_completions(inputs)
            found.steps.append(Seen(step, list(self.rollouts), out.get("sampler_ratio")))
            return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl_module, "AgentGRPOTrainer", Probed)
        found.log = train_rl(
            model,
            place.processor,
            roller,
            ["s1", "s2", "s3", "s4", "s5"],
            params,
            seed=0,
            scratch=place.scratch,
            on_weights=on_weights or policy.sampler.forget,  # type: ignore[union-attr]
            on_rollouts=lambda step, rollouts, advantages: on_rollouts(step),
            on_step=on_step,
            on_mismatch=lambda step, mismatch: found.mismatches.append(mismatch),
            held_out=held_out,
        )
    return found


def _train_here(place: Place, **options: Any) -> tuple[Run, str]:
    """Train with a policy of this process; return what was seen and the digest of the end."""
    model = build_lively(place.processor)
    policy = InProcessPolicy(model, place.processor, policy_id="m")
    try:
        run = _train(place, model, policy, **options)
    finally:
        place.loop.run(policy.close())
    return run, model_digest(model)


def _logprobs(
    place: Place, weights: dict[str, torch.Tensor], rollout: RewardedEpisode
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return trainer's and sampler's log-probabilities of what the policy wrote."""
    context = rollout.episode.context
    assert context is not None
    model = build_lively(place.processor)
    model.load_state_dict(weights)
    trained = torch.tensor(context.loss_mask)
    scores = alone_logprobs(model, place.processor, context)
    return scores[trained], torch.tensor(context.logprobs)[trained]


def _check_writers(place: Place, run: Run) -> None:
    """Check that the weights of the version that a rollout names gave it its tokens."""
    for seen in run.steps:
        for rollout in seen.rollouts:
            scores, sampled = _logprobs(place, run.weights[rollout.policy_version], rollout)
            assert torch.allclose(scores, sampled, atol=1e-4), seen.step


@pytest.mark.parametrize(
    ("staleness", "versions"), [(0, [0, 1, 2, 3]), (1, [0, 0, 1, 2])], ids=["0", "1"]
)
def test_rollouts_are_written_by_the_weights_of_as_many_steps_before(
    place: Place, staleness: int, versions: list[int]
) -> None:
    run, _ = _train_here(place, params=_PARAMS.model_copy(update={"staleness": staleness}))
    assert run.versions == [(step, {version}) for step, version in enumerate(versions)]
    _check_writers(place, run)
    for seen in run.steps:
        records = [make_record(one, step=seen.step, advantage=0.0) for one in seen.rollouts]
        assert {record.policy_version for record in records} == {versions[seen.step]}
    # What older weights wrote says nothing about two engines, which is what the alarm is for.
    are_known = [mismatch is not None for mismatch in run.mismatches]
    assert are_known == [step == version for step, version in enumerate(versions)]


def test_tokens_are_weighed_by_the_ratio_of_the_weights_that_train_and_those_that_sampled(
    place: Place,
) -> None:
    params = _PARAMS.model_copy(update={"num_steps": 3, "max_sampler_ratio": 1.05})
    run, _ = _train_here(place, params=params)
    for seen in run.steps:
        assert seen.ratio is not None
        found, expected = [], []
        for row, rollout in zip(seen.ratio, seen.rollouts, strict=True):
            context = rollout.episode.context
            assert context is not None
            scores, sampled = _logprobs(place, run.weights[seen.step], rollout)
            expected.append((scores - sampled).exp())
            found.append(row[: len(context.loss_mask)][torch.tensor(context.loss_mask)])
        ratios = torch.cat(expected)
        assert torch.allclose(torch.cat(found), ratios.clamp(max=1.05), atol=1e-3)
        if seen.step > 0:
            assert (ratios > 1.05).any()
            assert (ratios < 0.95).any()
    assert [row["mismatch"] > 1e-3 for row in run.log if "mismatch" in row] == [False, True, True]


@pytest.mark.parametrize("num_minibatches", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_between_two_checkpoints_ends_with_the_same_bytes(
    place: Place, num_minibatches: int
) -> None:
    """It goes on two steps earlier, with rollouts whose weights nobody has any more."""
    params = _PARAMS.model_copy(update={"num_minibatches": num_minibatches})
    whole, expected = _train_here(place._replace(scratch=place.scratch / "whole"), params=params)
    place = place._replace(scratch=place.scratch / "killed")

    def die(step: int) -> None:
        if step == 3 * num_minibatches:
            raise Killed

    with pytest.raises(Killed):
        _train_here(place, params=params, on_rollouts=die)
    rest, found = _train_here(place, params=params)
    assert found == expected
    assert [step for step, _ in rest.versions] == [2 * num_minibatches, 3 * num_minibatches]
    assert rest.versions == whole.versions[2:]
    assert rest.tokens == {step: whole.tokens[step] for step in rest.tokens}
    # What the last checkpoint has trained on is not kept.
    assert not list((place.scratch / "rollouts").iterdir())


@pytest.mark.slow
def test_kept_rollouts_that_are_too_old_are_refused(place: Place) -> None:
    def die(step: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        _train_here(place, on_rollouts=die)
    for folder in (place.scratch / "rollouts").glob("2-1-*"):
        folder.rename(folder.with_name(folder.name.replace("2-1-", "2-0-")))
    with pytest.raises(ExactnessError, match="step 2: its rollouts were sampled after 0 updates"):
        _train_here(place)


@dataclass
class Gate:
    """Stands in the server's door: sees every request, and lets those of step 1 wait."""

    arrived: threading.Event = field(default_factory=threading.Event)
    """A request of step 1 is there."""
    opened: threading.Event = field(default_factory=threading.Event)
    """They may go on."""
    lost_patience: bool = False
    """Nobody opened."""
    _numbers: dict[str, int] = field(default_factory=dict)
    _opening: "asyncio.Task[None] | None" = None

    def middleware(self) -> Any:
        """Return what aiohttp calls with each request."""

        @web.middleware
        async def stand_in_the_door(
            request: web.Request,
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> web.StreamResponse:
            if request.path == "/inference/v1/generate":
                episode, *_ = (await request.json())["request_id"].split("-")
                if self._numbers.setdefault(episode, len(self._numbers)) >= _GROUP:
                    self.arrived.set()
                    if self._opening is None:
                        self._opening = asyncio.ensure_future(asyncio.to_thread(self._wait))
                    await asyncio.shield(self._opening)
            return await handler(request)

        return stand_in_the_door

    def _wait(self) -> None:
        self.lost_patience = not self.opened.wait(_PATIENCE_S)


class Served(NamedTuple):
    model: Any
    policy: VLLMPolicy
    gate: Gate
    push: WeightPush


@pytest.fixture
def served(place: Place) -> Iterator[Served]:
    """Serve a copy of the model over HTTP: nothing but a push changes it."""
    with _serving(place) as found:
        yield found


@contextmanager
def _serving(place: Place) -> Iterator[Served]:
    model = build_lively(place.processor)
    fake = FakeVLLM(copy.deepcopy(model), place.processor)
    gate = Gate()
    fake.app.middlewares.append(gate.middleware())
    server = VLLMServer(place.loop.run(fake.start()), patience_s=1.0, first_pause_s=0.05)
    policy = VLLMPolicy(server, place.processor, policy_id="m")
    folder = place.scratch.with_name("weights")
    push = WeightPush(model, folder, lambda path: place.loop.run(policy.load_weights(path)))
    yield Served(model, policy, gate, push)
    gate.opened.set()
    place.loop.run(policy.close())
    place.loop.run(fake.stop())


@pytest.mark.parametrize("then", ["validates", "saves"])
def test_a_server_samples_the_next_step_before_the_update_of_this_one_has_ended(
    place: Place, served: Served, then: str
) -> None:
    """Its requests wait until the update is over: they were sent before, or never are."""
    model, policy, gate, push = served
    have_begun: list[bool] = []
    kept: list[tuple[int, bool]] = []

    class Meet(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, **options: Any) -> None:
            if not have_begun:
                have_begun.append(gate.arrived.wait(_PATIENCE_S))

        def on_save(self, args: Any, state: Any, *others: Any, **options: Any) -> None:
            names = [path.name for path in (place.scratch / "rollouts").iterdir()]
            kept.append(
                (state.global_step, any(n.startswith(f"{state.global_step}-") for n in names))
            )

    every = {"validate_every" if then == "validates" else "save_every": 1}
    run = _train(
        place,
        model,
        policy,
        on_weights=push,
        # Validation or checkpoint begin here, while the rollouts of step 1 are on their way.
        on_step=lambda step: gate.opened.set(),
        callbacks=[Meet()],
        held_out=["s6"] if then == "validates" else [],
        params=_PARAMS.model_copy(update={"num_steps": 3, "save_every": 3, **every}),
    )
    assert have_begun == [True]
    assert not gate.lost_patience
    assert run.versions == [(0, {0}), (1, {0}), (2, {1})]
    _check_writers(place, run)
    assert sum("held_out_graded" in row for row in run.log) == 3 * (then == "validates")
    if then == "saves":
        assert kept == [(1, True), (2, True), (3, False)]


def test_a_checkpoint_waits_for_the_rollouts_that_were_begun(
    renderer: Renderer, loop: LoopThread
) -> None:
    opened = threading.Event()

    def roll(sample_ids: Sequence[str], *, step: int, version: int) -> list[RewardedEpisode]:
        if step == 1:
            assert opened.wait(_PATIENCE_S)
        return []

    ahead = RolloutsAhead(
        roll,
        on_weights=lambda: None,
        following=lambda step: Prompts(step + 1, []),
        max_age=1,
        thread_of=loop,
    )
    ahead.take(0, [])
    keeps = KeepsRollouts(make_roller(renderer, loop), ahead)
    control = TrainerControl(should_save=True)
    saves = threading.Thread(target=keeps.on_step_end, args=(None, TrainerState(), control))
    saves.start()
    saves.join(timeout=0.5)
    assert saves.is_alive()
    opened.set()
    saves.join()
    ahead.close()


def test_a_run_that_stops_while_a_server_samples_leaves_no_thread(
    place: Place, served: Served
) -> None:
    before = set(threading.enumerate())

    def die(step: int) -> None:
        assert served.gate.arrived.wait(_PATIENCE_S)
        raise Killed

    with pytest.raises(Killed):
        _train(place, served.model, served.policy, on_weights=served.push, on_rollouts=die)
    names = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in names if name.startswith("ahead")]


def test_staleness_is_refused_where_nothing_corrects_for_it() -> None:
    raw = json.loads(json.dumps(read_yaml(_ROOT / "params.yaml"), default=str))
    raw["train_rl"] |= {"staleness": 1, "method": "rejection"}
    with pytest.raises(ParamsError) as caught:
        parse_params(raw, where="params.yaml")
    assert str(caught.value) == (
        "params.yaml has 1 fault(s):\n"
        "  train_rl: staleness 1 corrects a policy gradient, and method rejection has none: "
        "set staleness: 0, or method: grpo"
    )
