"""Outages of the real search engine leave no trace in the update of RL."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Request
from agentic_vlm.params import AgentParams
from agentic_vlm.search import FlakySearch, LocalSearch, build_index
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rollouts import RewardedEpisode
from tests.unit.search.conftest import PAGES
from tests.unit.training import test_rl as rl

_PARAMS = rl._PARAMS.model_copy(update={"group_size": 12})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build_index(PAGES, [], tmp_path / "corpus")
    return tmp_path / "corpus"


def _search_and_answer(request: Request) -> str:
    """Search up to twice, each time for something else, then answer; some answer wrong."""
    asked = request.messages[-1 - 2 * request.turn].text
    number = int("".join(sign for sign in asked if sign.isdigit()))
    kind = int(request.episode_id, 16) % 3
    lead = "<think>" if request.turn == 0 else ""
    if request.turn < kind:
        query = f"Velmora {request.episode_id[:6]} {request.turn}"
        arguments = f'{{"query": "{query}"}}'
        call = f'{{"name": "search", "arguments": {arguments}}}'
        return f"{lead}Ask.</think><tool_call>{call}</tool_call>"
    is_right = int(request.episode_id, 16) % 2
    return f"{lead}It is so.</think><answer>{number if is_right else 0}</answer>"


def _update(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    share: float,
    num_retries: int = 0,
) -> tuple[rl._Update, FlakySearch]:
    """Make one update with a share of the searches failing."""
    local = LocalSearch(corpus, max_snippet_chars=60, max_distance=14)
    search = FlakySearch(local, share=share, seed=0)
    roller = rl.make_roller(renderer, loop, write=_search_and_answer, params=_PARAMS)
    agent = AgentParams(max_infrastructure_retries=num_retries)
    roller.kit = dataclasses.replace(roller.kit, agent=agent, provider=search)
    monkeypatch.setattr(rl, "_PARAMS", _PARAMS)
    scratch = corpus.parent / f"scratch-{share}-{num_retries}"
    return rl._one_update(processor, roller, scratch, monkeypatch), search


def _advantages(rollouts: list[RewardedEpisode]) -> list[float]:
    """Return the advantages among the rollouts that are there, by hand."""
    advantages = []
    for rollout in rollouts:
        group = [other.reward for other in rollouts if other.group_id == rollout.group_id]
        rewards = torch.tensor(group)
        spread = float(rewards.std()) + 1e-4
        advantages.append((rollout.reward - float(rewards.mean())) / spread)
    return advantages


def test_under_15_percent_outages_the_gradient_is_that_of_the_unaffected_episodes(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update, search = _update(processor, renderer, loop, corpus, monkeypatch, share=0.15)
    unaffected = [one for one in update.rollouts if one.reward is not None]
    lost = [one for one in update.rollouts if one.reward is None]
    assert len(lost) == search.num_outages > 1
    assert all("this outage was asked for" in one.episode.trajectory.failure for one in lost)
    advantages = _advantages(unaffected)
    assert any(advantages)
    told = [value for value in update.advantages if value is not None]
    assert told == [pytest.approx(value, abs=1e-3) for value in advantages]
    rl._check_gradient(processor, update._replace(rollouts=unaffected), advantages)


def test_with_new_tries_the_update_is_that_without_outages(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calm, _ = _update(processor, renderer, loop, corpus, monkeypatch, share=0.0)
    stormy, search = _update(
        processor, renderer, loop, corpus, monkeypatch, share=0.15, num_retries=4
    )
    assert search.num_outages > 1
    assert [one.reward for one in stormy.rollouts] == [one.reward for one in calm.rollouts]
    assert stormy.gradients.keys() == calm.gradients.keys()
    for name, gradient in calm.gradients.items():
        assert torch.equal(stormy.gradients[name], gradient), name
