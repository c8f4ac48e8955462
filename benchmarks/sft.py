"""Tokens per second of the cold start: packed rows against padded batches, in the same run.

    python benchmarks/sft.py                     # pocket shape on the CPU
    python benchmarks/sft.py --shape 7b          # Qwen2.5-VL shapes, random weights, needs a GPU

Both sides train on the same trajectories with TRL's trainer: the baseline pads a batch to its
longest row, as TRL's own collator does, and uses TRL's head. A rate counts tokens that are not
padding. On the CPU it is by CPU seconds of this process, which other work on the machine changes
less than the clock; both are given. On a busy machine take `--threads 1`: threads that wait for
each other measure the others' work. MFU, where there is a GPU: 6 N of the trained and 2 N of the
frozen parameters x tokens + attention, over the peak of the card; recomputation is not counted. A
frozen tower counts so for every token, although both sides show it each picture once; of the 7B
shape it is 3 % of the sum.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from figures import finish
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from trl import SFTConfig, SFTTrainer

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.params import VisionParams
from agentic_vlm.stage import num_threads
from agentic_vlm.training.collate import ContextCollator, PackedCollator
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.schedule import plan_schedule
from agentic_vlm.training.sft import StepReporter, freeze_vision
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

SHAPES = {
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
}
"""Text towers of Qwen2.5-VL by size."""
_PEAK_FLOPS = 989e12
"""Dense bf16 of an H100 or H200."""


def make_trajectories(renderer: Renderer, *, number: int, scale: int) -> list[TokenContext]:
    """Return episodes with 0 to 3 tool pictures, `scale` times as wordy as the pocket ones."""
    found = []
    for index in range(number):
        rng = derive_rng(index, "benchmark")
        words = "Look at the plate that is named and read its label. " * scale
        images = [] if index % 5 == 4 else [make_plates(rng, difficulty=0).render(rng)]
        prompt = "<image>" * len(images) + words * 2
        context = renderer.render_prompt(words, prompt, images, episode_id=f"e{index}")
        for _ in range(random.Random(index).choice((0, 0, 1, 1, 2, 3)) if images else 0):
            text = f"<think>{words}</think><code>\n```python\nimage_1\n```\n</code>"
            context.append_policy(renderer.encode_policy(text, ends_turn=False), None)
            renderer.append_observation(context, f"<image>{words}", [images[0].resize((112, 112))])
        text = f"<think>{words}</think><answer>{index}</answer>"
        context.append_policy(renderer.encode_policy(text, ends_turn=True), None)
        found.append(context)
    return found


def build(shape: str, processor: Any) -> Any:
    """Return a model of the shape with random weights."""
    if shape == "pocket":
        return build_model(processor.tokenizer, seed=0)
    ids = processor.tokenizer.convert_tokens_to_ids
    text: dict[str, Any] = {**SHAPES[shape], "vocab_size": 152064, "max_position_embeddings": 32768}
    text["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": [16, 24, 24],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={"out_hidden_size": text["hidden_size"]},
        image_token_id=processor.image_token_id,
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    with torch.device("cuda"):
        model: Any = Qwen2_5_VLForConditionalGeneration(config)
    model.to(torch.bfloat16)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def train(
    model: Any,
    processor: Any,
    rows: Dataset,
    collator: Callable[..., Any],
    *,
    size: int,
    steps: int,
) -> tuple[SFTTrainer, list[tuple[float, float]]]:
    """Build a trainer and return it with the list that takes clock and CPU time of each step."""
    ends: list[tuple[float, float]] = []
    trainer = SFTTrainer(
        model=model,
        processing_class=processor,
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=1,
            max_steps=steps,
            train_sampling_strategy="sequential",
            save_strategy="no",
            logging_steps=1000,
            report_to=[],
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            max_length=None,
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=rows,
        data_collator=collator,
        callbacks=[
            StepReporter(lambda step: ends.append((time.perf_counter(), time.process_time())))
        ],
    )
    return trainer, ends


def measure(
    shape: str, contexts: Sequence[TokenContext], processor: Any, *, steps: int, size: int
) -> dict[str, Any]:
    """Return seconds per step and tokens per second of both ways, without the first step."""
    lengths = [context.num_tokens for context in contexts]
    schedule = plan_schedule(
        lengths, num_steps=steps, batch_size=size, batch_tokens=None, row_tokens=10**9, seed=0
    )
    tokens = [sum(lengths[number] for number in row) for row in schedule.rows]
    found: dict[str, Any] = {"tokens_per_step": statistics.mean(tokens)}
    for name in ("padded", "packed"):
        model = build(shape, processor)
        freeze_vision(model)
        encoder = PictureEncoder(model, processor.image_processor, max_pictures=20_000)
        if name == "packed":
            packer = Packer(model, processor, encoder=encoder, share_prompts=False)
            rows = Dataset.from_dict({"contexts": schedule.rows})
            trainer, ends = train(
                model, processor, rows, PackedCollator(contexts, packer), size=1, steps=steps
            )
            add_policy_head(trainer.model)
        else:
            order = [number for row in schedule.rows for number in row]
            rows = Dataset.from_dict({"context": order})
            padded = ContextCollator(contexts, processor, encoder=encoder)
            trainer, ends = train(model, processor, rows, padded, size=size, steps=steps)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        clock = [end - start for (start, _), (end, _) in pairwise(ends)]
        cpu = [end - start for (_, start), (_, end) in pairwise(ends)]
        rate = sum(tokens[1:]) / sum(clock if torch.cuda.is_available() else cpu)
        found[name] = {
            "seconds_per_step": statistics.median(clock),
            "cpu_seconds_per_step": statistics.median(cpu),
            "tokens_per_s": rate,
        }
        if torch.cuda.is_available():
            found[name]["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
            found[name]["mfu"] = mfu(model, lengths, rate)
        del trainer, model
    found["speedup"] = found["packed"]["tokens_per_s"] / found["padded"]["tokens_per_s"]
    return found


def mfu(model: Any, lengths: Sequence[int], rate: float) -> float:
    """Return the used share of the card's peak at a rate of tokens per second.

    A token takes 2 operations forward and 4 backward per trained parameter, 2 per frozen one.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    text = model.config.text_config
    width = text.hidden_size * text.num_hidden_layers
    # Causal attention: forward 2 x 2 x width x length / 2 per token, backward twice that.
    length = sum(one * one for one in lengths) / sum(lengths)
    return float((6 * trained + 2 * frozen + 6 * width * length) * rate / _PEAK_FLOPS)


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=["pocket", *SHAPES], default="pocket")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--scale", type=int, default=1, help="how wordy the trajectories are")
    parser.add_argument("--threads", type=int, help="of torch; absent: as the stages take")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or num_threads())
    has_gpu = torch.cuda.is_available()
    if options.shape != "pocket" and not has_gpu:
        sys.exit("no GPU here: the shapes of published models are measured on one")
    vision = VisionParams()
    processor = build_processor(min_pixels=vision.min_pixels, max_pixels=vision.max_pixels)
    renderer = Renderer(processor.tokenizer, vision=vision)
    contexts = make_trajectories(renderer, number=4 * options.batch_size, scale=options.scale)
    figures = measure(
        options.shape, contexts, processor, steps=options.steps, size=options.batch_size
    )
    report = {
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "shape": options.shape,
        "threads": torch.get_num_threads(),
        "optimizer_state": "float32" if options.shape == "pocket" else "bfloat16",
        "batch_size": options.batch_size,
        **figures,
    }
    finish(report, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
