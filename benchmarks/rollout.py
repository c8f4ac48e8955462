"""Rollouts per second and the busy share of the engine: our loop against TRL's own tool loop.

    python benchmarks/rollout.py     # 128 rollouts, tools of 0, 0.05, 0.2 s and a heavy tail

Both loops drive the same engine, which writes a fixed script and takes as long as a card would:
`--base-s` per batch and `--row-s` per row of it. The engine sleeps, so that a busy machine changes
little. Each rollout calls a tool `--calls` times, then answers. TRL's side is `GRPOTrainer` with
`tools=` and its own `_tool_call_loop`; only its call of the engine is replaced. Ours is `run_batch`
with `InProcessPolicy`, whose sampler is the engine: `free` takes whatever waits, `lockstep` waits
for every rollout, as params with `deterministic: true` do.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from figures import finish
from rollout_engine import CALL, DELAYS, Delay, Engine, EngineSampler, SlowSandbox
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_template, qwen3_vl_training_chat_template

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.params import AgentParams, SearchParams, VisionParams
from agentic_vlm.schema import ProbeMode
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit
from agentic_vlm.world.base_model import build_model, build_processor

_TRL_CALL = '<tool_call>\n{"name": "python", "arguments": {"code": "print(1)"}}\n</tool_call>'
_QUESTION = "What is 1?"
_VISION = VisionParams()


class TrlLoop(GRPOTrainer):
    """TRL's trainer and tool loop; only the engine is another one."""

    engine: Engine

    def _generate_single_turn(
        self, prompt_ids: Sequence[Sequence[int]], *args: Any, **options: Any
    ) -> tuple[list[list[int]], None]:
        return self.engine.write(prompt_ids), None


def run_ours(
    delay: Delay, *, model: Any, processor: Any, engine: Engine, size: int, lockstep: bool
) -> None:
    """Run a batch of episodes of our loop."""
    renderer = Renderer(processor.tokenizer, vision=_VISION)
    policy = InProcessPolicy(
        model, processor, policy_id="engine", max_batch=size, is_deterministic=lockstep
    )
    policy.sampler = EngineSampler(engine)  # type: ignore[assignment]
    kit = Toolkit(
        agent=AgentParams(
            max_concurrent=size, tools=("python",), max_context_tokens=8192, max_turn_tokens=512
        ),
        vision=_VISION,
        search=SearchParams(),
        sandbox=SlowSandbox(delay),
        provider=FakeSearch(),
    )
    tasks = [_task(number) for number in range(size)]
    work = run_batch(tasks, policy=policy, kit=kit, renderer=renderer, temperature=1.0)
    episodes = asyncio.run(work)
    for episode in episodes:
        found = episode.trajectory.answer, episode.trajectory.num_calls
        if found != ("1", engine.num_calls):
            raise RuntimeError(f"an episode ended as {found}: the figures mean nothing")


def no_reward(completions: Sequence[Any], **_columns: Any) -> list[float | None]:
    """Return nothing for each: the loop is timed, not what it earns."""
    return [0.0] * len(completions)


def build_trl(model: Any, processor: Any, *, size: int, engine: Engine) -> TrlLoop:
    """Return TRL's trainer with one tool, whose delay is set for each batch."""
    processor.chat_template = processor.tokenizer.chat_template = qwen3_vl_training_chat_template
    processor.tokenizer.response_template = qwen3_template

    async def python(code: str) -> str:
        """Run Python code.

        Args:
            code: The code.

        Returns:
            What it printed.
        """
        raise AssertionError("each batch brings its own tool")

    trainer = TrlLoop(
        model,
        reward_funcs=no_reward,
        processing_class=processor,
        tools=[python],
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": _QUESTION}]}]),
        args=GRPOConfig(
            tempfile.mkdtemp(),
            per_device_train_batch_size=size,
            num_generations=2,
            max_steps=1,
            max_completion_length=8192,
            max_tool_calling_iterations=engine.num_calls + 1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
    )
    trainer.engine = engine
    return trainer


def run_trl(delay: Delay, *, trainer: TrlLoop, size: int) -> None:
    """Run a batch of rollouts of TRL's loop, with the same delays."""

    def tool(seed: int) -> Callable[..., Any]:
        rng = random.Random(seed)

        async def python(code: str) -> str:
            await asyncio.sleep(delay(rng))
            return "1"

        return python

    trainer._sync_tool_dicts = [{} for _ in range(size)]
    trainer._async_tool_dicts = [{"python": tool(_task(at).seed)} for at in range(size)]
    prompts = [[{"role": "user", "content": _QUESTION}] for _ in range(size)]
    completions = trainer._generate(prompts)[3]
    if any(
        sum(bool(message.get("tool_calls")) for message in one) != trainer.engine.num_calls
        for one in completions
    ):
        raise RuntimeError("TRL's loop did not make every call: the figures mean nothing")


def _task(number: int) -> EpisodeTask:
    sample_id, mode = f"s{number}", ProbeMode.AGENT
    return EpisodeTask(
        sample_id=sample_id,
        question=_QUESTION,
        images=(),
        image_refs=(),
        mode=mode,
        attempt=0,
        seed=episode_seed(0, sample_id=sample_id, mode=mode, attempt=0),
        stage="train_rl",
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return figures by delay and loop."""
    processor = build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)
    theirs = build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    size = options.episodes

    def engine(tokenizer: Any, call: str) -> Engine:
        return Engine(tokenizer, call, options.calls, options.base_s, options.row_s)

    trl_engine = engine(theirs.tokenizer, _TRL_CALL)
    trainer = build_trl(model, theirs, size=size, engine=trl_engine)
    our_engine = engine(processor.tokenizer, CALL)
    shared = {"model": model, "processor": processor, "engine": our_engine, "size": size}
    loops: dict[str, tuple[Engine, Callable[[Delay], None]]] = {
        "free": (our_engine, lambda delay: run_ours(delay, lockstep=False, **shared)),
        "lockstep": (our_engine, lambda delay: run_ours(delay, lockstep=True, **shared)),
        "trl": (trl_engine, lambda delay: run_trl(delay, trainer=trainer, size=size)),
    }
    found: dict[str, Any] = {}
    for name, delay in DELAYS.items():
        found[name] = {}
        for loop, (used, run) in loops.items():
            runs = [_timed(used, run, delay, size) for _ in range(options.repeats)]
            found[name][loop] = {
                key: statistics.median(one[key] for one in runs) for key in runs[0]
            }
    for loop in loops:
        plain = found["0 s"][loop]["seconds"]
        for figures in found.values():
            figures[loop]["added_s_per_turn"] = (figures[loop]["seconds"] - plain) / options.calls
    for figures in found.values():
        figures["speedup_over_trl"] = figures["trl"]["seconds"] / figures["free"]["seconds"]
    return found


def _timed(
    engine: Engine, run: Callable[[Delay], None], delay: Delay, size: int
) -> dict[str, float]:
    engine.busy_s, engine.num_batches = 0.0, 0
    start = time.perf_counter()
    run(delay)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "rollouts_per_s": size / seconds,
        "busy": engine.busy_s / seconds,
        "batches": engine.num_batches,
    }


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--calls", type=int, default=3, help="tool calls of each rollout")
    parser.add_argument("--base-s", type=float, default=0.2, help="seconds of a batch")
    parser.add_argument("--row-s", type=float, default=0.002, help="seconds of each of its rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = {"episodes": options.episodes, "calls": options.calls, "repeats": options.repeats}
    engine = {"base_s": options.base_s, "row_s": options.row_s}
    finish({**shape, "engine": engine, **measure(options)}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
