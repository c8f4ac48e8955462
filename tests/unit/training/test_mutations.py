"""Injected faults at every hop between loop and loss: none is trained on silently.

The faults are made by code that knows lists and tensors only, not what is checked: drop, double,
swap, resize or reorder one picture, drop, double, swap or change one observation token.
"""

import asyncio
import copy
import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.context import TokenContext, check_exact
from agentic_vlm.agent.prompt import Prompt
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.state import Episode, EpisodeState, finish
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import FinishReason, Request, SamplingParams
from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.engine import EnginePrompt, Sampled
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.turns import EngineSampling
from agentic_vlm.errors import ExactnessError
from agentic_vlm.schema import ProbeMode, StopReason
from agentic_vlm.training.buffer import check_buffer, check_split
from agentic_vlm.training.collate import PackedCollator
from agentic_vlm.training.episode_files import read_episodes, write_episodes
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.stored_images import DecodedPictures
from tests.unit.training.conftest import make_context

DECODED = DecodedPictures(max_bytes=2**20)
_CASES = 24
"""Injections of each kind at each hop: 2 kinds x 7 hops x 24 = 336."""
_PICTURE_FAULTS = ("drop", "double", "swap", "resize", "reorder")
_TOKEN_FAULTS = ("drop", "double", "swap", "change")


def spoil_list(rng: random.Random, items: list[Any], places: list[int], fault: str) -> bool:
    """Spoil one of the items at `places`; tell whether the list differs now."""
    before = list(items)
    at = rng.choice(places)
    if fault == "drop":
        del items[at]
    elif fault == "double":
        items.insert(at, items[at])
    elif fault == "swap":
        other = rng.choice(places)
        items[at], items[other] = items[other], items[at]
    elif fault == "reorder":
        some = [items[place] for place in places]
        rng.shuffle(some)
        for place, item in zip(places, some, strict=True):
            items[place] = item
    elif fault == "change":
        items[at] = (items[at] + 1) % 700
    return [id(one) if not isinstance(one, int) else one for one in items] != [
        id(one) if not isinstance(one, int) else one for one in before
    ]


def spoil_pictures(rng: random.Random, pictures: list[Any]) -> str | None:
    """Spoil one picture, placed or not; return what was done, if anything was."""
    fault = rng.choice(_PICTURE_FAULTS)
    places = list(range(len(pictures)))
    if fault != "resize":
        return fault if spoil_list(rng, pictures, places, fault) else None
    at = rng.choice(places)
    one = pictures[at]
    shown = one if hasattr(one, "resize") else one.image
    other = shown.resize((shown.width + 28, shown.height))
    pictures[at] = other if one is shown else dataclasses.replace(one, image=other)
    return fault


def spoil_tokens(rng: random.Random, ids: list[int], places: list[int]) -> str | None:
    """Spoil one token among those at `places`; return what was done, if it was."""
    fault = rng.choice(_TOKEN_FAULTS)
    return fault if spoil_list(rng, ids, places, fault) else None


@pytest.fixture(scope="module")
def contexts(renderer: Renderer) -> list[TokenContext]:
    """Episodes with tool pictures, all of one size and different."""
    return [make_context(renderer, seed=seed, num_crops=2 + seed % 2) for seed in range(1, 4)]


def observed(context: TokenContext) -> list[int]:
    """Return where in the whole context the environment wrote after the prompt."""
    offset = len(context.prompt_ids)
    return [offset + place for place, on in enumerate(context.loss_mask) if not on]


def spoil_context(rng: random.Random, context: TokenContext, kind: str) -> str | None:
    if kind == "picture":
        return spoil_pictures(rng, context.placed)
    places = [place - len(context.prompt_ids) for place in observed(context)]
    return spoil_tokens(rng, context.completion_ids, places)


Carry = Callable[[random.Random, str], str | None]
"""Carries an episode over a hop, spoils it on the way and returns what was done."""


def inject(carry: Carry, kind: str) -> list[str]:
    """Inject faults until enough were noticed; return where they were, as the errors say."""
    rng = random.Random(kind)
    found: list[str] = []
    while len(found) < _CASES:
        try:
            done = carry(rng, kind)
        except ExactnessError as fault:
            found.append(fault.where)
            continue
        assert done is None, f"{done} of a {kind} went unnoticed"
    return found


@pytest.mark.parametrize("kind", ["picture", "token"])
class TestEveryFaultIsNoticed:
    def test_in_what_was_rendered(self, contexts: list[TokenContext], kind: str) -> None:
        def carry(rng: random.Random, kind: str) -> str | None:
            context = copy.deepcopy(rng.choice(contexts))
            done = spoil_context(rng, context, kind)
            check_exact(context)
            return done

        for where in inject(carry, kind):
            assert re.fullmatch(r"episode e\d, turn \d(, image \d)?", where)
            assert kind == "token" or ", image " in where

    def test_in_the_sampler(
        self, contexts: list[TokenContext], kind: str, model: Any, processor: Any
    ) -> None:
        policy = InProcessPolicy(model, processor, policy_id="m")

        def carry(rng: random.Random, kind: str) -> str | None:
            context = rng.choice(contexts)
            ids, images = context.ids, list(context.images)
            request = Request(context.episode_id, 1, [], ids, images, "", context.seal())
            if kind == "picture":
                done = spoil_pictures(rng, request.images)
            else:
                done = spoil_tokens(rng, ids, observed(context))
            if done is not None:
                asyncio.run(policy.complete(request, SamplingParams(1.0, 1, (), 0)))
            return done

        for where in inject(carry, kind):
            assert re.fullmatch(r"episode e\d, turn \d(, image \d)?", where)

    def test_on_the_way_to_a_colocated_engine(
        self, contexts: list[TokenContext], kind: str, processor: Any
    ) -> None:
        def carry(rng: random.Random, kind: str) -> str | None:
            context = rng.choice(contexts)
            return asyncio.run(_ask_spoiled(rng, context, kind, processor))

        for where in inject(carry, kind):
            assert re.fullmatch(r"episode e\d, turn \d(, image \d)?", where)
            assert kind == "token" or ", image " in where

    def test_in_the_buffer(self, contexts: list[TokenContext], kind: str) -> None:
        def carry(rng: random.Random, kind: str) -> str | None:
            held = copy.deepcopy(contexts)
            seals = [context.seal() for context in held]
            rows = [context.ids for context in held]
            at = rng.randrange(len(held))
            if kind == "picture":
                # Picture and digest move together, as in a list that is sorted anew.
                done = spoil_list(
                    rng,
                    held[at].placed,
                    list(range(len(held[at].placed))),
                    rng.choice(("drop", "double", "swap", "reorder")),
                )
            else:
                done = spoil_tokens(rng, rows[at], observed(held[at])) is not None
            longest = max(map(len, rows))
            ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            check_buffer(ids, mask, held, seals)
            return "done" if done else None

        inject(carry, kind)

    def test_in_a_file(
        self, contexts: list[TokenContext], kind: str, renderer: Renderer, tmp_path: Path
    ) -> None:
        def carry(rng: random.Random, kind: str) -> str | None:
            context = copy.deepcopy(rng.choice(contexts))
            done = spoil_context(rng, context, kind)
            write_episodes(tmp_path / "kept", [_episode(context)])
            read_episodes(tmp_path / "kept", placeholders=renderer.placeholders, decoded=DECODED)
            return done

        inject(carry, kind)

    def test_in_a_split(self, contexts: list[TokenContext], kind: str) -> None:
        def carry(rng: random.Random, kind: str) -> str | None:
            held = copy.deepcopy(contexts)
            seals = [context.seal() for context in held]
            numbers = list(range(len(held)))
            if kind == "picture":
                # Rows lose or swap their pictures: contexts and tokens part ways.
                done = spoil_list(rng, numbers, list(numbers), rng.choice(("drop", "double")))
                passes = [{"rollout": torch.tensor(numbers[:1])}]
                passes += [{"rollout": torch.tensor(numbers[1:])}]
                check_split(passes, num_rollouts=len(held))
                return "done" if done else None
            rows = [context.ids for context in held]
            done = spoil_list(rng, rows, list(numbers), rng.choice(("swap", "reorder")))
            longest = max(map(len, rows))
            ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            check_buffer(ids, mask, held, seals)
            return "done" if done else None

        inject(carry, kind)

    def test_in_the_collator(
        self, contexts: list[TokenContext], kind: str, model: Any, processor: Any
    ) -> None:
        packer = Packer(model, processor, encoder=None, share_prompts=False)
        add_policy_head(model)

        def carry(rng: random.Random, kind: str) -> str | None:
            held = copy.deepcopy(contexts)
            if rng.random() < 0.5:
                done = spoil_context(rng, held[0], kind)
                PackedCollator(held, packer)([{"contexts": [1, 0]}])
                return done
            row = PackedCollator(held, packer)([{"contexts": [0, 1]}])
            if kind == "token":
                ids = row["input_ids"][0].tolist()
                fault = rng.choice(("swap", "change"))
                done = fault if spoil_list(rng, ids, observed(held[0]), fault) else None
                row["input_ids"] = torch.tensor([ids])
            else:
                order = row["picture_index"].tolist()
                done = "swap" if spoil_list(rng, order, list(range(len(order))), "swap") else None
                row["picture_index"] = torch.tensor(order)
            if done is not None:
                model(**row, fused_lm_head=True)
            return done

        inject(carry, kind)


class _Ending:
    """An engine that reads the rendered context, whatever it is given, and ends every turn."""

    def __init__(self, context: TokenContext) -> None:
        self.context = context
        self.waiting: list[str] = []

    def add(self, request_id: str, prompt: EnginePrompt, sampling: EngineSampling) -> None:
        self.waiting.append(request_id)

    def step(self) -> list[Sampled]:
        names, self.waiting = self.waiting, []
        return [Sampled(one, self.context.ids, [2], [-0.1], FinishReason.STOP) for one in names]

    def abort(self, request_ids: Sequence[str]) -> None: ...

    def wake(self) -> None: ...

    def load(self, weights: Any) -> None: ...

    def sleep(self) -> None: ...

    def close(self) -> None: ...


async def _ask_spoiled(
    rng: random.Random, context: TokenContext, kind: str, processor: Any
) -> str | None:
    """Ask for a turn whose prompt is spoiled while it waits for the engine."""
    done: list[str | None] = []

    class Spoiling(ColocatedPolicy):
        def _add(self, asked: Any) -> None:
            if kind == "picture":
                done.append(spoil_pictures(rng, asked.prompt["multi_modal_data"]["image"]))
            else:
                ids = asked.prompt["prompt_token_ids"]
                done.append(spoil_tokens(rng, ids, list(range(len(ids)))))
            super()._add(asked)

    policy = Spoiling(_Ending(context), processor, policy_id="m")
    ids, images = context.ids, list(context.images)
    request = Request(context.episode_id, 1, [], ids, images, "", context.seal())
    try:
        await policy.complete(request, SamplingParams(1.0, 1, (), 0))
    finally:
        await policy.close()
    return done[0]


def _episode(context: TokenContext) -> Episode:
    task = EpisodeTask(
        sample_id="s",
        question="?",
        images=(),
        image_refs=(),
        mode=ProbeMode.AGENT,
        attempt=0,
        seed=0,
        stage="train_rl",
    )
    state = EpisodeState([], [], context)
    prompt = Prompt("", "?")
    return finish(
        task, state, StopReason.LENGTH, prompt=prompt, policy_id="m", protocol="deepeyesv2"
    )


def test_episodes_come_back_from_a_file_as_they_were(
    contexts: list[TokenContext], renderer: Renderer, tmp_path: Path
) -> None:
    episodes = [_episode(context) for context in contexts]
    write_episodes(tmp_path / "kept", episodes)
    again = read_episodes(tmp_path / "kept", placeholders=renderer.placeholders, decoded=DECODED)
    for one, two in zip(episodes, again, strict=True):
        assert one.trajectory == two.trajectory
        assert one.context is not None
        assert two.context is not None
        assert one.context.seal() == two.context.seal()
        assert one.context.loss_mask == two.context.loss_mask
        assert [a.image.tobytes() for a in one.context.placed] == [
            b.image.tobytes() for b in two.context.placed
        ]


def test_a_picture_spoiled_in_the_row_is_refused_by_the_model(
    contexts: list[TokenContext], model: Any, processor: Any
) -> None:
    packer = Packer(model, processor, encoder=None, share_prompts=False)
    row = packer.pack(contexts).inputs
    add_policy_head(model)
    row["pixel_values"][-1, 0] += 0.5
    with pytest.raises(ExactnessError, match="packed row, picture"):
        model(**row, fused_lm_head=True)
