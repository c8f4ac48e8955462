"""Where the time of a step of reinforcement learning goes.

    python benchmarks/rl_step.py                  # pocket shape on the CPU
    python benchmarks/rl_step.py --shape 3b       # Qwen2.5-VL shape, random weights, needs a GPU

Weights are random, and what they would write never ends. So the sampler works as ever, token by
token, and a script is put in the place of what it drew: rollouts of three calls and an answer, with
four pictures each. The first step warms up and is not counted. `sampling` is what the model writes,
`loop` the rest of the rollouts: rendering, rewards, and mostly the files of the pictures, which are
noise, the slowest to encode. What is left of a step stands under `rest`. No peer is measured in the
same run: TRL's own loop stands in `rollout.py`.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from figures import finish
from scripted_rollouts import GROUP, NUM_CALLS, make_samples, train_on_script, write_turn
from sft import SHAPES, build

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import FinishReason
from agentic_vlm.backends.generate import Continuation, Row, Sampler
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.params import TrainRlParams, VisionParams
from agentic_vlm.stage import num_threads
from agentic_vlm.training.agent_grpo import AgentGRPOTrainer
from agentic_vlm.training.rollouts import RewardedEpisode, Roller
from agentic_vlm.world.base_model import build_processor


class ScriptedSampler(Sampler):
    """Spends what sampling costs, and says what the script says."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Ban one token, as a policy does some; the script holds none of those."""
        super().__init__(model, processor, banned_ids=[processor.image_token_id])
        self._mark: int = processor.tokenizer.convert_tokens_to_ids("<|im_start|>")
        # Encoded once: the time of a turn is that of the model.
        self._scripts = {
            (turn, is_right): self._encode(turn, is_right=is_right)
            for turn in range(NUM_CALLS + 1)
            for is_right in (False, True)
        }
        self.num_tokens = 0

    def _encode(self, turn: int, *, is_right: bool) -> list[int]:
        ends = "" if turn < NUM_CALLS else "<|im_end|>"
        text = write_turn(turn, is_right=is_right) + ends
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _is_finished(self, row: Row, out: Continuation) -> bool:
        # System, user and assistant open a context; each call adds an observation and a turn.
        turn = (row.ids.count(self._mark) - 3) // 2
        script = self._scripts[turn, row.seed % 2 == 1]
        out.ids[-1] = script[len(out.ids) - 1]
        self.num_tokens += 1
        is_finished = len(out.ids) == len(script)
        if is_finished:
            out.finish_reason = FinishReason.STOP
        return is_finished


class Clock:
    """Adds up the seconds of functions by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time taken."""

        def run(*arguments: Any, **options: Any) -> Any:
            start = _now()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] += _now() - start

        return run


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


_PARTS: Sequence[tuple[str, Any, str]] = (
    ("rollouts", Roller, "roll"),
    ("sampling", ScriptedSampler, "continue_rows"),
    ("forward", AgentGRPOTrainer, "_compute_loss"),
    ("backward", Accelerator, "backward"),
    ("optimizer", AcceleratedOptimizer, "step"),
)


def run_steps(shape: str, folder: Path, *, prompts: int, steps: int, side: int) -> dict[str, Any]:
    """Train; return seconds per step by part, without the first step."""
    vision = VisionParams()
    processor = build_processor(min_pixels=vision.min_pixels, max_pixels=vision.max_pixels)
    model = build(shape, processor)
    renderer = Renderer(processor.tokenizer, vision=vision)
    samples, _ = make_samples(folder / "images", prompts, side)
    params = TrainRlParams(
        num_steps=steps + 1,
        prompts_per_step=prompts,
        group_size=GROUP,
        learning_rate=1e-6,
        gradient_checkpointing=shape != "pocket",
        save_every=steps + 2,
    )
    policy = InProcessPolicy(model, processor, policy_id="script")
    sampler = policy.sampler = ScriptedSampler(model, processor)
    clock = Clock()
    ends: list[float] = []
    num_trained = 0

    def end_step(step: int) -> None:
        nonlocal num_trained
        ends.append(_now())
        if step == 1:
            # The first step warmed up.
            clock.seconds.clear()
            sampler.num_tokens = num_trained = 0

    def count(rollouts: Sequence[RewardedEpisode]) -> None:
        nonlocal num_trained
        contexts = [rollout.episode.context for rollout in rollouts]
        num_trained += sum(context.num_tokens for context in contexts if context is not None)

    with ExitStack() as patches:
        for name, owner, method in _PARTS:
            timed = clock.timed(name, getattr(owner, method))
            # A plain function, so that it is bound as a method.
            patches.enter_context(patch.object(owner, method, timed))
        train_on_script(
            model,
            processor,
            policy,
            renderer,
            samples,
            params,
            folder=folder,
            side=side,
            vision=vision,
            on_rollouts=count,
            on_weights=sampler.forget,
            on_step=end_step,
        )
    parts = {name: seconds / steps for name, seconds in clock.seconds.items()}
    parts["loop"] = parts.pop("rollouts") - parts["sampling"]
    total = (ends[-1] - ends[0]) / steps
    parts["rest"] = total - sum(parts.values())
    return {
        "seconds_per_step": total,
        "seconds": parts,
        "sampled_tokens_per_s": sampler.num_tokens / steps / parts["sampling"],
        "trained_tokens_per_s": num_trained / steps / (parts["forward"] + parts["backward"]),
    }


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=["pocket", *SHAPES], default="pocket")
    parser.add_argument("--prompts", type=int, default=4, help=f"groups of {GROUP} rollouts")
    parser.add_argument("--steps", type=int, default=3, help="besides the first, which warms up")
    parser.add_argument("--side", type=int, default=112, help="pixels per side of a picture")
    parser.add_argument("--threads", type=int, help="of torch; absent: as the stages take")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or num_threads())
    has_gpu = torch.cuda.is_available()
    if options.shape != "pocket" and not has_gpu:
        sys.exit("no GPU here: the shapes of published models are measured on one")
    with tempfile.TemporaryDirectory() as folder:
        figures = run_steps(
            options.shape,
            Path(folder),
            prompts=options.prompts,
            steps=options.steps,
            side=options.side,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = {
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "shape": options.shape,
        "optimizer_state": "float32" if options.shape == "pocket" else "bfloat16",
        "rollouts": options.prompts * GROUP,
        **figures,
        "peak_host_gib": peak / 2**30,
        "peak_gpu_gib": torch.cuda.max_memory_allocated() / 2**30 if has_gpu else None,
    }
    finish(report, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
