"""Batched sampling from a Qwen-VL model with random numbers of its own for every row.

Hugging Face `generate` draws all rows from one generator, so a row's text would depend on who
shares its batch; here each row draws from its own seed, and noise of the batch enters through
rounding alone. Contexts are read without padding and prompts that rows share are read once; keys
and values are written in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from agentic_vlm.backends.base import FinishReason
from agentic_vlm.backends.draws import choose_tokens, uniform_draws
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.backends.kept import ContextMemory, KeptContext
from agentic_vlm.backends.prefill import KeyValueRoom, Part, Prefilled, prefill
from agentic_vlm.backends.seal import Seal
from agentic_vlm.backends.segments import (
    rope_positions,
    takes_flash_attention,
    unwrap_adapters,
    use_segments,
)

_DEAD_SHARE = 8
"""Finished rows leave the batch once they are one in so many: leaving copies keys and values."""


@dataclass(frozen=True, slots=True)
class Row:
    """One context to be continued."""

    ids: list[int]
    """Token ids, placeholders expanded."""
    images: list[Image.Image]
    """One per placeholder run, in order."""
    temperature: float
    max_tokens: int
    seed: int
    stop_ids: frozenset[int]
    """Ids that end the row: end of turn, and stop strings that are one token."""
    stop_texts: tuple[str, ...]
    """Stop strings of several tokens, looked for in the decoded tail."""
    seal: Seal | None = None
    """What ids and pictures must be; absent where nobody rendered them."""
    episode_id: str = ""
    """Names the episode whose later turns continue this one; empty where none does."""


@dataclass(slots=True)
class Continuation:
    """What was sampled for one row."""

    ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason


class Sampler:
    """Continues many rows at once."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        banned_ids: Sequence[int],
        turn_memory: ContextMemory | None = None,
        prompt_memory: ContextMemory | None = None,
    ) -> None:
        """Remember the model, a PeftModel too; `banned_ids` are never sampled.

        Without a `turn_memory` every context is read from its beginning, without a `prompt_memory`
        every prompt once per batch.
        """
        self._model = unwrap_adapters(model)
        self._tokenizer = processor.tokenizer
        self._banned = torch.tensor(sorted(banned_ids))
        self._image_token_id: int = processor.image_token_id
        self._merge_size: int = model.config.vision_config.spatial_merge_size
        self._header = self._tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
        use_segments(self._model)
        self._is_flash = takes_flash_attention(self._model)
        self.encoder = PictureEncoder(self._model, processor.image_processor, max_pictures=4096)
        # Flash kernels take no prefix from elsewhere.
        self._memory = None if self._is_flash else turn_memory
        self._prompts = None if self._is_flash else prompt_memory

    def forget(self) -> None:
        """Forget what was computed with weights that may have changed."""
        self.encoder.forget_trained()
        for memory in (self._memory, self._prompts):
            if memory is not None:
                memory.clear()

    @torch.inference_mode()
    def continue_rows(self, rows: Sequence[Row]) -> list[Continuation]:
        """Sample one continuation per row."""
        was_training = self._model.training
        self._model.eval()
        try:
            return self._continue(rows)
        finally:
            self._model.train(was_training)

    def _continue(self, rows: Sequence[Row]) -> list[Continuation]:
        hidden, room, is_seen, next_position = self._read(rows)
        longest = max(row.max_tokens for row in rows)
        draws = torch.stack(
            [uniform_draws(row.seed, row.max_tokens, length=longest) for row in rows]
        ).to(hidden.device)
        outs = [Continuation([], [], FinishReason.LENGTH) for _ in rows]
        held = list(range(len(rows)))
        live = set(held)
        width = is_seen.shape[1]
        for step in range(draws.shape[1]):
            scales = [rows[number].temperature for number in held]
            logits = self._model.lm_head(hidden)
            tokens, logprobs = choose_tokens(logits, scales, draws[held, step], banned=self._banned)
            sampled = zip(held, tokens.tolist(), logprobs.tolist(), strict=True)
            for at, (number, token, logprob) in enumerate(sampled):
                if number in live:
                    outs[number].ids.append(token)
                    outs[number].logprobs.append(logprob)
                    if self._is_finished(rows[number], outs[number]):
                        live.remove(number)
                        self._keep_turns(rows[number], outs[number], room, at, width)
            if not live:
                return outs
            if (len(held) - len(live)) * _DEAD_SHARE > len(held):
                kept = [at for at, number in enumerate(held) if number in live]
                chosen = torch.tensor(kept, device=hidden.device)
                room.keep_rows(chosen)
                is_seen, next_position = is_seen[chosen], next_position[chosen]
                tokens = tokens[chosen]
                held = [held[at] for at in kept]
            is_seen = torch.cat([is_seen, is_seen.new_ones(len(held), 1)], dim=1)
            out = self._model.model(
                input_ids=tokens[:, None],
                attention_mask=is_seen if self._is_flash else is_seen[:, None, None],
                position_ids=next_position[None, :, None].expand(3, -1, 1),
                past_key_values=room,
                use_cache=True,
            )
            room.length += 1
            hidden = out.last_hidden_state[:, -1]
            next_position = next_position + 1
        raise AssertionError("the longest row has ended with its last draw")

    def _read(self, rows: Sequence[Row]) -> Prefilled:
        """Read all contexts; a beginning that rows share is read once, equal contexts too."""
        for row in rows:
            self.check(row.ids, row.images, row.seal)
        images = [image for row in rows for image in row.images]
        if images:
            self.encoder.encode(images)
        plan = _Plan()
        shared = [0 if self._is_flash else self._num_shared(row) for row in rows]
        lasts = [plan.add(row, length, self) for row, length in zip(rows, shared, strict=True)]
        encoded = self.encoder.encode(plan.images)[0] if plan.images else None
        room = min(max(row.max_tokens for row in rows), 128)
        read = prefill(self._model, plan.parts, lasts, encoded=encoded, room=room)
        self._keep_prompts(rows, shared, read)
        return read

    def _keep_turns(
        self, row: Row, out: Continuation, room: KeyValueRoom, at: int, width: int
    ) -> None:
        """Keep a row that has ended; it is number `at` of those in the room, `width` wide first."""
        if self._memory is None or not row.episode_id:
            return
        # Contexts end at the same place; the last token that was sampled is not read.
        start, end = width - len(row.ids), width + len(out.ids) - 1
        keys, values = room.tokens_of(at, start, end)
        ids = (*row.ids, *out.ids[:-1])
        self._memory.keep(row.episode_id, KeptContext(ids, self._digests(row), keys, values))

    def _keep_prompts(self, rows: Sequence[Row], lengths: Sequence[int], read: Prefilled) -> None:
        """Keep the prompts that are not kept yet, each without its last token."""
        if self._prompts is None:
            return
        width = read.is_seen.shape[1]
        for at, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            prompt = self._prompt(row, length)
            if length > 1 and prompt not in self._prompts:
                start = width - len(row.ids)
                keys, values = read.room.tokens_of(at, start, start + length - 1)
                ids, pictures = prompt
                self._prompts.keep(prompt, KeptContext(ids[:-1], pictures, keys, values))

    def kept(self, row: Row, num_shared: int) -> KeptContext | None:
        """Return what is kept of the earlier turns of a row, or of its prompt."""
        found = None
        if self._memory is not None and row.episode_id:
            found = self._memory.find(row.episode_id, row.ids, self._digests(row))
        if self._prompts is not None and found is None:
            prompt = self._prompt(row, num_shared)
            found = self._prompts.find(prompt, row.ids, prompt[1])
        return found

    def _prompt(self, row: Row, length: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return what tells prompts apart: tokens and pictures."""
        ids = tuple(row.ids[:length])
        return ids, self._digests(row)[: self.num_pictures(ids)]

    def _digests(self, row: Row) -> tuple[str, ...]:
        return tuple(self.encoder.digest(image) for image in row.images)

    def check(self, ids: Sequence[int], images: Sequence[Image.Image], seal: Seal | None) -> None:
        """Check that a row is what the episode rendered.

        Raises:
            ExactnessError: a token or a picture is not the one that was rendered.
        """
        if seal is not None:
            seal.check_ids(ids, hop="sampler")
            digests = [self.encoder.digest(image) for image in images]
            seal.check_pictures(digests, hop="sampler")

    def _num_shared(self, row: Row) -> int:
        """Return the length of the prompt, which the rows of a group share in every turn.

        Data is neutralised, so that the first assistant header is that of the first turn.
        """
        size = len(self._header)
        for end in range(size, len(row.ids) + 1):
            if row.ids[end - 1] == self._header[-1] and row.ids[end - size : end] == self._header:
                return end
        return 0

    def positions(self, row: Row) -> torch.Tensor:
        """Return [3, T] M-RoPE positions of a row."""
        grids = self.encoder.grids(row.images)
        return rope_positions(row.ids, grids, pad_id=self._image_token_id, merge=self._merge_size)

    def num_pictures(self, ids: Sequence[int]) -> int:
        """Return how many placeholder runs the ids hold."""
        pad = self._image_token_id
        pairs = zip([None, *ids[:-1]], ids, strict=True)
        return sum(token == pad and before != pad for before, token in pairs)

    def _is_finished(self, row: Row, out: Continuation) -> bool:
        if out.ids[-1] in row.stop_ids or self._has_stop_text(row, out):
            out.finish_reason = FinishReason.STOP
            return True
        return len(out.ids) >= row.max_tokens

    def _has_stop_text(self, row: Row, out: Continuation) -> bool:
        if not row.stop_texts:
            return False
        tail = self._tokenizer.decode(out.ids[-24:])
        return any(stop in tail for stop in row.stop_texts)


class _Plan:
    """Packed parts of a batch, each distinct beginning and context once."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.images: list[Image.Image] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def add(self, row: Row, num_shared: int, sampler: Sampler) -> int:
        """Add a row, its first `num_shared` tokens apart; return the number of its last part."""
        # The same picture object is the same picture; equal copies are merely not shared.
        pictures = tuple(id(image) for image in row.images)
        whole = (tuple(row.ids), pictures)
        if whole in self._known:
            return self._known[whole]
        positions = sampler.positions(row)
        kept = sampler.kept(row, num_shared)
        if kept is not None:
            length = kept.num_tokens
            own = Part(row.ids[length:], positions[:, length:], None, kept)
            return self._append(own, row.images[len(kept.pictures) :], whole)
        num_shown = sampler.num_pictures(row.ids[:num_shared])
        start = (tuple(row.ids[:num_shared]), pictures[:num_shown])
        prefix = self._known.get(start)
        if prefix is None and num_shared:
            prefix = self._append(
                Part(row.ids[:num_shared], positions[:, :num_shared], None),
                row.images[:num_shown],
                start,
            )
        if num_shared == len(row.ids) and prefix is not None:
            return prefix
        own = Part(row.ids[num_shared:], positions[:, num_shared:], prefix)
        return self._append(own, row.images[num_shown:], whole)

    def _append(self, part: Part, images: Sequence[Image.Image], key: tuple[Any, ...]) -> int:
        self._known[key] = len(self.parts)
        self.parts.append(part)
        self.images.extend(images)
        return self._known[key]
