"""Seconds that slow tools add to a batch of episodes: the loop against one tool after another.

    python benchmarks/rollout.py     # 128 episodes, tools of 0, 0.05, 0.2 s and a heavy tail

Every episode makes one call and answers. The policy is scripted and writes at once, so that what is
left is the loop and its tools. The baseline runs the same episodes one after another, which is how
TRL 1.16 awaits the tools of a batch (grpo_trainer.py, _tool_call_loop).
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.backends.base import Request
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.params import AgentParams, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox, FakeSession
from agentic_vlm.schema import ProbeMode
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit

_CODE = "print(1)"
_CALL = f"<think>Run it.</think><code>\n```python\n{_CODE}\n```\n</code>"
_ANSWER = "So it is.</think><answer>1</answer>"

Delay = Callable[[random.Random], float]
"""Draws the seconds of one tool call."""

DELAYS: dict[str, Delay] = {
    "0 s": lambda rng: 0.0,
    "0.05 s": lambda rng: 0.05,
    "0.2 s": lambda rng: 0.2,
    "heavy tail": lambda rng: min(0.05 * rng.paretovariate(1.2), 2.0),
}


class _SlowSession(FakeSession):
    """A session whose cells take a while, as those of a busy machine do."""

    delay_s = 0.0

    async def run_cell(self, code: str) -> CellResult:
        await asyncio.sleep(self.delay_s)
        return await super().run_cell(code)


class _SlowSandbox(FakeSandbox):
    """Opens sessions with delays of their own."""

    def __init__(self, delay: Delay) -> None:
        super().__init__()
        self._delay = delay
        self.total_s = 0.0

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> FakeSession:
        answer = CellResult(CellStatus.OK, stdout="1\n")
        session = _SlowSession({_CODE: answer}, images, seed=seed)
        session.delay_s = self._delay(random.Random(seed))
        self.total_s += session.delay_s
        return session


def run(delay: Delay, *, num_episodes: int, num_parallel: int) -> dict[str, float]:
    """Return wall seconds of a batch, and the share of them that tools would take alone."""
    agent = AgentParams(max_concurrent=num_parallel, tools=("python",))
    sandbox = _SlowSandbox(delay)
    kit = Toolkit(
        agent=agent,
        vision=VisionParams(),
        search=SearchParams(),
        sandbox=sandbox,
        provider=FakeSearch(),
    )
    tasks = [_task(number) for number in range(num_episodes)]

    def write(request: Request) -> str:
        return _ANSWER if request.turn else _CALL

    start = time.perf_counter()
    episodes = asyncio.run(
        run_batch(tasks, policy=ScriptedPolicy(write), kit=kit, renderer=None, temperature=1.0)
    )
    seconds = time.perf_counter() - start
    if any(episode.trajectory.answer != "1" for episode in episodes):
        raise RuntimeError("an episode did not end with its answer: the figures mean nothing")
    return {
        "seconds": seconds,
        "episodes_per_s": num_episodes / seconds,
        "tool_seconds": sandbox.total_s,
    }


def _task(number: int) -> EpisodeTask:
    sample_id, mode = f"s{number}", ProbeMode.AGENT
    return EpisodeTask(
        sample_id=sample_id,
        question="What is 1?",
        images=(),
        image_refs=(),
        mode=mode,
        attempt=0,
        seed=episode_seed(0, sample_id=sample_id, mode=mode, attempt=0),
        stage="train_rl",
    )


def measure(*, num_episodes: int, repeats: int) -> dict[str, Any]:
    """Return figures by delay: together and one after another, and what a delay adds."""
    found: dict[str, Any] = {}
    for name, delay in DELAYS.items():
        runs = [
            run(delay, num_episodes=num_episodes, num_parallel=num_episodes) for _ in range(repeats)
        ]
        together = statistics.median(one["seconds"] for one in runs)
        serial = run(delay, num_episodes=num_episodes, num_parallel=1)["seconds"]
        found[name] = {
            "together_s": together,
            "one_after_another_s": serial,
            "episodes_per_s": num_episodes / together,
            "tool_seconds": runs[0]["tool_seconds"],
            "ratio": serial / together,
        }
    plain = found["0 s"]["together_s"]
    for figures in found.values():
        figures["added_s"] = figures["together_s"] - plain
    return found


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {
        "episodes": options.episodes,
        **measure(num_episodes=options.episodes, repeats=options.repeats),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
