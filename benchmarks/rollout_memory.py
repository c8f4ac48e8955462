"""Host memory of a training step by the encoded bytes of its pictures.

    python benchmarks/rollout_memory.py                   # 4,096 rollouts of 4 pictures, bar 1.5
    python benchmarks/rollout_memory.py --rollouts 512

Two processes run the same step of reinforcement learning, sampling and update included: one on
pictures of at least 200 kB each, one on pictures of one pixel. The figure is the difference of
their peaks over the encoded bytes of the distinct pictures. A rollout shows one picture of its
prompt, which its group shares, and three that tools made, which nobody shares. The policy is
scripted and the model is tiny: neither grows with the pictures.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from figures import finish
from scripted_rollouts import GROUP, draw, make_samples, train_on_script, write_turn

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Request
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.params import TrainRlParams, VisionParams
from agentic_vlm.training.rollouts import RewardedEpisode
from agentic_vlm.vision import encode_png
from agentic_vlm.world.base_model import build_model, build_processor

# Few vision tokens per picture: the figure is about pixels in host memory.
_VISION = VisionParams(min_pixels=3136, max_pixels=3136)


def _write(request: Request) -> str:
    # Every other rollout is right, so that every group teaches something.
    return write_turn(request.turn, is_right=int(request.episode_id, 16) % 2 == 1)


def run_step(num_rollouts: int, side: int, folder: Path) -> dict[str, float]:
    """Run a step in this process; return its peak and the encoded bytes of its pictures."""
    samples, encoded = make_samples(folder / "images", num_rollouts // GROUP, side)
    processor = build_processor(min_pixels=_VISION.min_pixels, max_pixels=_VISION.max_pixels)
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    renderer = Renderer(processor.tokenizer, vision=_VISION)
    params = TrainRlParams(
        num_steps=1, prompts_per_step=len(samples), group_size=GROUP, save_every=10
    )
    made: dict[str, int] = {}

    def count(rollouts: Sequence[RewardedEpisode]) -> None:
        for rollout in rollouts:
            made.update({sha: len(png) for sha, png in rollout.episode.pictures.items()})

    train_on_script(
        model,
        processor,
        ScriptedPolicy(_write, encoder=renderer),
        renderer,
        samples,
        params,
        folder=folder,
        side=side,
        vision=_VISION,
        on_rollouts=count,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "peak_bytes": float(peak),
        "encoded_bytes": float(encoded + sum(made.values())),
        "distinct_pictures": float(len(samples) + len(made)),
    }


def _in_a_process_of_its_own(num_rollouts: int, side: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--rollouts", str(num_rollouts), "--child", str(side)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=4096)
    parser.add_argument("--side", type=int, default=464, help="pixels per side of a picture")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child is not None:
        with tempfile.TemporaryDirectory() as folder:
            figures = run_step(options.rollouts, options.child, Path(folder))
        print(json.dumps(figures))
        return 0
    size = len(encode_png(draw(0, options.side)))
    if size < 200_000:
        sys.exit("pictures of this size have files below 200 kB: give a larger --side")
    large = _in_a_process_of_its_own(options.rollouts, options.side)
    small = _in_a_process_of_its_own(options.rollouts, 1)
    report = {
        "rollouts": options.rollouts,
        "large": large,
        "small": small,
        "ratio": (large["peak_bytes"] - small["peak_bytes"]) / large["encoded_bytes"],
    }
    finish(report, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
