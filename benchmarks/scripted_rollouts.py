"""Rollouts whose words are fixed: each looks at three pictures that tools made, then answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Policy
from agentic_vlm.params import AgentParams, GradingParams, SearchParams, TrainRlParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox, FakeSession
from agentic_vlm.schema import AnswerType, CuratedSample, ImageRef
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.tools.toolbox import Toolkit
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollouts import RewardedEpisode, Roller
from agentic_vlm.vision import encode_png

NUM_CALLS = 3
GROUP = 16
_CALL = "Look.</think><code>\n```python\nimage_1\n```\n</code>"


def write_turn(turn: int, *, is_right: bool) -> str:
    """Return what a rollout says in a turn, numbered from 0, after what it was given to begin."""
    lead = "<think>" if turn == 0 else ""
    if turn < NUM_CALLS:
        return lead + _CALL
    return f"So.</think><answer>{int(is_right)}</answer>"


def draw(seed: int, side: int) -> Image.Image:
    """Return noise of three bits per channel: its file is about as large as that of a photo."""
    noise = np.random.default_rng(seed).integers(0, 8, (side, side, 3), dtype=np.uint8) * 32
    return Image.fromarray(noise)


class _Session(FakeSession):
    """Each cell shows a picture that was never seen before."""

    def __init__(self, side: int, *, seed: int) -> None:
        super().__init__({}, (), seed=seed)
        self._side = side

    async def run_cell(self, code: str) -> CellResult:
        self.codes.append(code)
        shown = draw(self.seed * 8 + len(self.codes), self._side)
        return CellResult(CellStatus.OK, images=(shown,))


class NoiseSandbox(FakeSandbox):
    """Shows noise; remembers no session, as a real one remembers none that was closed."""

    def __init__(self, side: int) -> None:
        """Show pictures of this many pixels per side."""
        super().__init__()
        self._side = side

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> FakeSession:
        """Open a session."""
        return _Session(self._side, seed=seed)


def make_samples(folder: Path, number: int, side: int) -> tuple[list[CuratedSample], int]:
    """Write the pictures of the prompts; return samples and the bytes of the pictures."""
    samples, size = [], 0
    with ImageWriter(folder) as writer:
        for at in range(number):
            picture = draw(10**12 + at, side)
            size += len(encode_png(picture))
            samples.append(_sample(at, writer.add(picture)))
    return samples, size


def _sample(number: int, ref: ImageRef) -> CuratedSample:
    return CuratedSample(
        sample_id=f"s{number:06d}",
        source="benchmark",
        source_row_id=str(number),
        split="train",
        family="reasoning",
        question=f"Question {number}: what is one?",
        answer="1",
        answer_type=AnswerType.INTEGER,
        images=(ref,),
    )


def train_on_script(
    model: Any,
    processor: Any,
    policy: Policy,
    renderer: Renderer,
    samples: Sequence[CuratedSample],
    params: TrainRlParams,
    *,
    folder: Path,
    side: int,
    vision: VisionParams,
    on_rollouts: Callable[[Sequence[RewardedEpisode]], None],
    on_weights: Callable[[], None] = lambda: None,
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train on rollouts of a policy that follows the script; `folder` holds `images`.

    Raises:
        RuntimeError: a rollout ended early, so that figures would mean nothing.
    """

    def check(step: int, rollouts: Sequence[RewardedEpisode], advantages: Any) -> None:
        if any(len(one.episode.trajectory.turns) != NUM_CALLS + 1 for one in rollouts):
            raise RuntimeError("a rollout ended early: the figures mean nothing")
        on_rollouts(rollouts)

    loop = LoopThread()
    roller = Roller(
        policy,
        renderer=renderer,
        kit=Toolkit(
            agent=AgentParams(max_concurrent=128),
            vision=vision,
            search=SearchParams(),
            sandbox=NoiseSandbox(side),
            provider=FakeSearch(),
        ),
        loop=loop,
        samples={sample.sample_id: sample for sample in samples},
        pictures=ImageStore.open(folder / "images"),
        params=params,
        grading=GradingParams(),
        seed=0,
    )
    train_rl(
        model,
        processor,
        roller,
        sorted(sample.sample_id for sample in samples),
        params,
        seed=0,
        scratch=folder / "trainer",
        on_weights=on_weights,
        on_rollouts=check,
        on_step=on_step,
    )
    loop.close()
