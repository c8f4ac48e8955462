"""RL on TRL: the contract that `_generate` stands on, and what a failure of ours does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Request
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import BackendUnavailable
from agentic_vlm.params import AgentParams, GradingParams, SearchParams, TrainRlParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import AnswerType, CuratedSample, ImageRef
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit
from agentic_vlm.training import rl as rl_module
from agentic_vlm.training.rl import AgentGRPOTrainer, train_rl, trim_padding
from agentic_vlm.training.rollouts import LoopThread, RewardedEpisode, Roller
from tests.unit.training.conftest import alone_logprobs, picture

_CODE = "Look.</think><code>\n```python\nimage_1\n```\n</code>"
_PARAMS = TrainRlParams(
    num_steps=1, prompts_per_step=2, group_size=4, learning_rate=1e-3, save_every=1
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


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


def _roller(renderer: Renderer, loop: LoopThread, *, write: Any = _write) -> Roller:
    shown = CellResult(
        CellStatus.OK, "", "", "", "", (picture(99).resize((56, 56)),), 0, 0, 0.0, 0.0, False
    )
    kit = Toolkit(
        agent=AgentParams(max_infrastructure_retries=0),
        vision=VisionParams(),
        search=SearchParams(),
        sandbox=FakeSandbox({"image_1": shown}),
        provider=FakeSearch(),
    )
    samples = [_sample(1, has_picture=True), _sample(2, has_picture=False)]
    return Roller(
        ScriptedPolicy(write, encoder=renderer),
        renderer=renderer,
        kit=kit,
        loop=loop,
        samples={sample.sample_id: sample for sample in samples},
        pictures=_Pictures(),
        params=_PARAMS,
        grading=GradingParams(),
        seed=0,
    )


def _train(
    model: Any, processor: Any, roller: Roller, scratch: Path
) -> list[tuple[int, Sequence[RewardedEpisode], Sequence[float | None]]]:
    seen: list[tuple[int, Sequence[RewardedEpisode], Sequence[float | None]]] = []
    train_rl(
        model,
        processor,
        roller,
        ["s1", "s2"],
        _PARAMS,
        seed=0,
        scratch=scratch,
        on_weights=lambda: None,
        on_rollouts=lambda step, rows, advantages: seen.append((step, list(rows), advantages)),
        on_step=lambda step: None,
    )
    return seen


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
                    pixel_values=out["pixel_values"],
                    image_grid_thw=out["image_grid_thw"],
                    num_images=out["num_images"],
                    mm_token_type_ids=out["mm_token_type_ids"],
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
    seen = _train(model, processor, _roller(renderer, loop), tmp_path)
    num_pictures = {len(rollout.episode.context.images) for rollout in seen[0][1]}  # type: ignore[union-attr]
    assert len(checked) == 8
    assert len(num_pictures) > 2
    assert max(checked) < 1e-4


def test_right_answers_get_positive_and_wrong_ones_negative_advantages(
    model: Any, processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    ((step, rollouts, advantages),) = _train(model, processor, _roller(renderer, loop), tmp_path)
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

    ((_, rollouts, advantages),) = _train(
        model, processor, _roller(renderer, loop, write=write), tmp_path
    )
    lost = [at for at, rollout in enumerate(rollouts) if rollout.reward is None]
    assert len(lost) == 1
    assert advantages[lost[0]] is None
    group = [
        advantages[at]
        for at, rollout in enumerate(rollouts)
        if rollout.group_id == rollouts[lost[0]].group_id and at != lost[0]
    ]
    assert sum(value or 0.0 for value in group) == pytest.approx(0.0, abs=1e-4)


def test_trimming_drops_only_columns_that_are_padding_in_every_row() -> None:
    inputs = {
        "prompt_ids": torch.tensor([[0, 0, 5], [0, 6, 7]]),
        "prompt_mask": torch.tensor([[0, 0, 1], [0, 1, 1]]),
        "completion_ids": torch.tensor([[8, 0, 0, 0], [9, 9, 0, 0]]),
        "completion_mask": torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]]),
        "tool_mask": torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]]),
        "mm_token_type_ids": torch.tensor([[0, 0, 1, 0, 0, 0, 0], [0, 1, 1, 0, 1, 0, 0]]),
        "advantages": torch.tensor([1.0, -1.0]),
    }
    trimmed = trim_padding(inputs)
    assert trimmed["prompt_ids"].tolist() == [[0, 5], [6, 7]]
    assert trimmed["completion_ids"].tolist() == [[8, 0], [9, 9]]
    assert trimmed["tool_mask"].tolist() == [[1, 1], [0, 1]]
    assert trimmed["mm_token_type_ids"].tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]
    assert trimmed["advantages"].tolist() == [1.0, -1.0]
