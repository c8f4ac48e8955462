"""InProcessPolicy: a model in this process, completing the turns of many episodes in batches."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen3VLConfig,
)

from agentic_vlm.backends.base import Completion, Request, SamplingParams
from agentic_vlm.backends.generate import Row, Sampler
from agentic_vlm.backends.kept import ContextMemory
from agentic_vlm.backends.turns import TurnTokens
from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.world.processor import ImageOnlyQwen3VLProcessor

_MAX_KEPT_BYTES = 8 * 2**30
"""Of keys and values between turns, and as many of prompts; a context of 20,000 tokens of a 7B
model in bf16 has 1.1 GB."""


def register() -> None:
    """Let AutoProcessor find the image-only processor; called by everything that loads a folder."""
    AutoProcessor.register(Qwen3VLConfig, ImageOnlyQwen3VLProcessor, exist_ok=True)


def load_processor(folder: Path) -> Any:
    """Return the processor of a checkpoint folder.

    Raises:
        ArtifactMissing: the folder holds no model.
        RecordError: the folder gives a tokenizer without an image processor.
    """
    if not (folder / "config.json").exists():
        stage = "build_base" if folder.name == "base" else f"train_{folder.name}"
        fix = f"run the stage that writes it: dvc repro {stage}"
        raise ArtifactMissing(str(folder), "no checkpoint here", fix)
    register()
    processor = AutoProcessor.from_pretrained(folder)
    if not hasattr(processor, "image_processor"):
        # transformers falls back to a bare tokenizer without a word, and pictures would be dropped.
        raise RecordError(
            f"{folder}/processor_config.json",
            "the folder loads as a tokenizer without an image processor",
            "save the processor beside the weights",
        )
    processor.tokenizer.padding_side = "left"
    return processor


def load_model(folder: Path, *, dtype: torch.dtype | str = torch.float32) -> Any:
    """Return the model of a checkpoint folder; `dtype` may be a name, such as bfloat16."""
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)


class InProcessPolicy:
    """Completes turns with a model in this process.

    With `is_deterministic`, a batch forms when every announced episode waits for one, from episode
    ids in order, never from arrival; so equal inputs give equal bytes. Otherwise whatever waits is
    taken.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        policy_id: str,
        max_batch: int = 64,
        is_deterministic: bool = True,
        keeps_turns: bool = False,
        num_kept_prompts: int = 0,
    ) -> None:
        """Remember the parts; the thread that computes starts with the first batch.

        Args:
            model: of a Qwen-VL family.
            processor: its processor.
            policy_id: name in trajectories.
            max_batch: most rows at a time.
            is_deterministic: see above.
            keeps_turns: keep keys and values from turn to turn instead of reading the whole context
                in each; equal but for rounding.
            num_kept_prompts: prompts of which keys and values are kept from batch to batch, for
                attempts at one sample that follow each other; equal but for rounding.
        """
        self.policy_id = policy_id
        self._turns = TurnTokens(processor.tokenizer)
        self._memory = ContextMemory(max_bytes=_MAX_KEPT_BYTES) if keeps_turns else None
        prompts = ContextMemory(max_bytes=_MAX_KEPT_BYTES, max_contexts=num_kept_prompts)
        self.sampler = Sampler(
            model,
            processor,
            banned_ids=self._turns.banned_ids,
            turn_memory=self._memory,
            prompt_memory=prompts if num_kept_prompts else None,
        )
        self._max_batch = max_batch
        self._is_deterministic = is_deterministic
        self._num_active = 0
        self._waiting: list[tuple[Request, SamplingParams, asyncio.Future[Completion]]] = []
        self._is_busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self.on_batch: Callable[[int], None] | None = None

    def expect(self, num_episodes: int) -> None:
        """Count further episodes as running."""
        self._num_active += num_episodes

    def done(self, episode_id: str) -> None:
        """Count one episode less; the others may be complete now."""
        if self._memory is not None:
            self._memory.drop(episode_id)
        self._num_active -= 1
        self._flush_if_ready()

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Wait for a batch and return the row's completion."""
        if request.prompt_ids is None:
            raise ValueError("an in-process policy needs token ids: give the episode a renderer")
        # Before the row joins a batch, so that a broken episode fails alone.
        self.sampler.check(request.prompt_ids, request.images, request.seal)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, params, future))
        self._flush_if_ready()
        return await future

    async def close(self) -> None:
        """Stop the computing thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _flush_if_ready(self) -> None:
        is_complete = len(self._waiting) >= self._num_active or not self._is_deterministic
        if self._waiting and is_complete and not self._is_busy:
            self._is_busy = True
            batch, self._waiting = self._waiting, []
            task = asyncio.ensure_future(self._run(batch))
            task.add_done_callback(lambda _: self._flush_if_ready())

    async def _run(
        self, batch: list[tuple[Request, SamplingParams, asyncio.Future[Completion]]]
    ) -> None:
        loop = asyncio.get_running_loop()
        # Rows of similar length share a batch, so that few pads are computed; equal contexts
        # stand together, so that they are computed once.
        batch.sort(key=lambda entry: (*_shape(entry[0]), entry[0].episode_id, entry[0].turn))
        try:
            for at in range(0, len(batch), self._max_batch):
                part = batch[at : at + self._max_batch]
                rows = [self._row(request, params) for request, params, _ in part]
                outs = await loop.run_in_executor(self._thread, self.sampler.continue_rows, rows)
                for (_, _, future), out in zip(part, outs, strict=True):
                    if not future.done():
                        future.set_result(
                            self._turns.completion(out.ids, out.logprobs, out.finish_reason)
                        )
        except BaseException as fault:
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(fault)
            if not isinstance(fault, Exception):
                raise
        finally:
            self._is_busy = False

    def _row(self, request: Request, params: SamplingParams) -> Row:
        stop_ids, stop_texts = self._turns.split_stops(params.stop)
        return Row(
            ids=list(request.prompt_ids or ()),
            images=request.images,
            temperature=params.temperature,
            max_tokens=params.max_tokens,
            seed=params.seed,
            stop_ids=stop_ids,
            stop_texts=stop_texts,
            seal=request.seal,
            episode_id=request.episode_id,
        )


def _shape(request: Request) -> tuple[int, list[int]]:
    ids = request.prompt_ids or []
    return len(ids), ids
