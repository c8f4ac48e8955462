"""Batched sampling from a Qwen-VL model with a generator per row.

Hugging Face `generate` draws all rows from one generator, so a row's text would depend on who
shares its batch; here each row draws from its own seed, and noise of the batch enters through
rounding alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from agentic_vlm.backends.base import FinishReason
from agentic_vlm.backends.encoder import PictureEncoder


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


@dataclass(slots=True)
class Continuation:
    """What was sampled for one row."""

    ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason


class Sampler:
    """Continues many rows at once."""

    def __init__(self, model: Any, processor: Any, *, banned_ids: Sequence[int]) -> None:
        """Remember the model; `banned_ids` are never sampled."""
        self._model = model
        self._tokenizer = processor.tokenizer
        self._banned = torch.tensor(sorted(banned_ids))
        self._image_token_id = processor.image_token_id
        self.encoder = PictureEncoder(model, processor.image_processor, max_pictures=4096)

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
        device = next(self._model.parameters()).device
        hidden, cache, attention, next_position = self._prefill_once(rows, device)
        generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        outs = [Continuation([], [], FinishReason.LENGTH) for _ in rows]
        live = list(range(len(rows)))
        while True:
            logits = self._model.lm_head(hidden).float().cpu()
            tokens = self._sample(
                logits,
                [rows[i] for i in live],
                [generators[i] for i in live],
                [outs[i] for i in live],
            )
            kept = [at for at, i in enumerate(live) if not self._is_finished(rows[i], outs[i])]
            if not kept:
                return outs
            if len(kept) < len(live):
                chosen = torch.tensor(kept, device=device)
                cache.batch_select_indices(chosen)
                attention, next_position = attention[chosen], next_position[chosen]
                tokens = tokens[kept]
                live = [live[at] for at in kept]
            attention = torch.cat([attention, attention.new_ones(len(live), 1)], dim=1)
            out = self._model.model(
                input_ids=tokens[:, None].to(device),
                attention_mask=attention,
                position_ids=next_position[None, :, None].expand(3, -1, 1),
                past_key_values=cache,
                use_cache=True,
            )
            hidden = out.last_hidden_state[:, -1]
            next_position = next_position + 1

    def _prefill_once(
        self, rows: Sequence[Row], device: torch.device
    ) -> tuple[torch.Tensor, DynamicCache, torch.Tensor, torch.Tensor]:
        """Compute each distinct context once: the members of a group begin with the same one."""
        first: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        distinct: list[Row] = []
        place = []
        for row in rows:
            # The same picture object is the same picture; equal copies are merely not shared.
            key = (tuple(row.ids), tuple(id(image) for image in row.images))
            if key not in first:
                first[key] = len(distinct)
                distinct.append(row)
            place.append(first[key])
        hidden, cache, attention, next_position = self._prefill(distinct, device)
        if len(distinct) == len(rows):
            return hidden, cache, attention, next_position
        chosen = torch.tensor(place, device=device)
        cache.batch_select_indices(chosen)
        return hidden[chosen], cache, attention[chosen], next_position[chosen]

    def _prefill(
        self, rows: Sequence[Row], device: torch.device
    ) -> tuple[torch.Tensor, DynamicCache, torch.Tensor, torch.Tensor]:
        length = max(len(row.ids) for row in rows)
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor(
            [[pad] * (length - len(row.ids)) + row.ids for row in rows], device=device
        )
        attention = torch.tensor(
            [[0] * (length - len(row.ids)) + [1] * len(row.ids) for row in rows], device=device
        )
        kinds = (ids == self._image_token_id).int()
        images = [image for row in rows for image in row.images]
        encoded: dict[str, Any] = {}
        grids = None
        if images:
            features, grids = self.encoder.encode(images)
            encoded["mm_encoder_outputs"] = {"image": features}
        positions, deltas = self._model.model.get_rope_index(
            ids, mm_token_type_ids=kinds, image_grid_thw=grids, attention_mask=attention
        )
        cache = DynamicCache(config=self._model.config.text_config)
        out = self._model.model(
            input_ids=ids,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **encoded,
        )
        next_position = attention.sum(dim=1) + deltas[:, 0]
        return out.last_hidden_state[:, -1], cache, attention, next_position

    def _sample(
        self,
        logits: torch.Tensor,
        rows: Sequence[Row],
        generators: Sequence[torch.Generator],
        outs: Sequence[Continuation],
    ) -> torch.Tensor:
        scales = torch.tensor([row.temperature or 1.0 for row in rows])
        logits = logits / scales[:, None]
        logprobs = logits.log_softmax(dim=-1)
        scores = logits.index_fill(1, self._banned, float("-inf"))
        for at, row in enumerate(rows):
            if row.temperature > 0:
                # Gumbel noise and argmax sample exactly, one generator per row.
                uniform = torch.rand(scores.shape[1], generator=generators[at], dtype=torch.float64)
                scores[at] -= torch.log(-torch.log(uniform.clamp_min(1e-300))).float()
        tokens = scores.argmax(dim=-1)
        chosen = logprobs.gather(1, tokens[:, None])[:, 0].tolist()
        for out, token, logprob in zip(outs, tokens.tolist(), chosen, strict=True):
            out.ids.append(token)
            out.logprobs.append(logprob)
        return tokens

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
