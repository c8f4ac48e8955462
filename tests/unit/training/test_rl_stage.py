"""The stage of RL: what it opened is closed, also where something else does not open."""

import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentic_vlm.errors import InfrastructureError
from agentic_vlm.params import Params
from agentic_vlm.runlog import RunLog
from agentic_vlm.schema import CheckpointCard
from agentic_vlm.stage import StageContext
from agentic_vlm.training.loop_thread import LoopThread
from stages import train_rl


def _make_context(root: Path, params: dict[str, Any]) -> StageContext:
    """Return a stage in a project that holds no more than what is opened."""
    for folder in ("models/sft", "data/corpus", "data/raw/images"):
        (root / folder).mkdir(parents=True)
    card = CheckpointCard(
        checkpoint_id="c",
        stage="train_sft",
        parent="",
        architecture="",
        num_parameters=0,
        step=0,
        seed=0,
    )
    (root / "models/sft/card.json").write_text(card.model_dump_json())
    return StageContext(
        stage=train_rl.STAGE,
        root=root,
        params=Params.model_validate(params),
        variant="",
        limit=1,
        run_log=RunLog("train_rl"),
        dry_root=root / "dry",
    )


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"model": {"policy": "vllm"}}, "AGENTIC_ROLLOUT_URLS"),
        ({"sandbox": {"type": "daemon"}}, "AGENTIC_SANDBOX_URLS"),
        ({"grading": {"judge": "openai", "judge_model": "j"}}, "AGENTIC_JUDGE_URL"),
    ],
    ids=["policy", "tools", "judge"],
)
def test_no_thread_is_left_where_a_part_of_the_rollouts_does_not_open(
    model: Any,
    processor: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
    where: str,
) -> None:
    monkeypatch.delenv(where, raising=False)
    context = _make_context(tmp_path, params)
    before = set(threading.enumerate())
    with (
        pytest.raises(InfrastructureError, match=where),
        train_rl._open_roller(context, model, processor, {}),
    ):
        pass
    assert set(threading.enumerate()) <= before


def test_what_the_loop_holds_is_closed_in_it_the_last_first(loop: LoopThread) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def part(name: str) -> AsyncIterator[str]:
        events.append(f"{name} opens in {threading.current_thread().name}")
        try:
            yield name
        finally:
            events.append(f"{name} closes in {threading.current_thread().name}")

    @asynccontextmanager
    async def broken() -> AsyncIterator[str]:
        raise InfrastructureError("part", "does not open", "start it")
        yield ""

    with ExitStack() as opened:
        opened.enter_context(loop.held(part("a")))
        opened.enter_context(loop.held(part("b")))
        with pytest.raises(InfrastructureError):
            opened.enter_context(loop.held(broken()))
    assert events == [
        "a opens in episodes",
        "b opens in episodes",
        "b closes in episodes",
        "a closes in episodes",
    ]
