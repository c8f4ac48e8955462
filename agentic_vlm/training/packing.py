"""Packed rows: token contexts one after the other, with positions, pictures and what is scored.

A row carries no padding. Positions (M-RoPE) of a trajectory are those that it has alone, a picture
that several trajectories show is encoded once, and the rollouts of a group may share their prompt.
The loss and every gradient are those of the padded batch (tests/unit/training/test_packing.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from agentic_vlm.agent.context import PlacedImage, TokenContext, check_exact
from agentic_vlm.backends.encoder import PictureEncoder, is_trainable
from agentic_vlm.backends.segments import Segment, rope_positions, unwrap_adapters
from agentic_vlm.errors import ExactnessError
from agentic_vlm.training.pixels import PixelStore, check_grid
from agentic_vlm.training.row_seal import seal_row


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A packed row and where its scored tokens come from. N tokens are scored."""

    inputs: dict[str, Any]
    """What `PolicyHead` takes."""
    owners: torch.Tensor
    """[N] number of the context that a scored token belongs to."""
    places: torch.Tensor
    """[N] its place among the completion tokens of that context."""


@dataclass(slots=True)
class _Draft:
    """A row under construction."""

    ids: list[int] = field(default_factory=list)
    positions: list[torch.Tensor] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    placed: list[PlacedImage] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def append(
        self,
        ids: Sequence[int],
        positions: torch.Tensor,
        placed: Sequence[PlacedImage],
        *,
        prefix: tuple[int, int] = (0, 0),
    ) -> Segment:
        start = len(self.ids)
        self.ids.extend(ids)
        self.positions.append(positions)
        self.placed.extend(placed)
        segment = Segment(start, len(self.ids), *prefix)
        self.segments.append(segment)
        return segment

    def score(self, owner: int, context: TokenContext, *, first: int, before: int) -> None:
        """Score the trained tokens; the completion begins at `first`, after token `before`."""
        for place, is_trained in enumerate(context.loss_mask):
            if is_trained:
                self.sources.append(first + place - 1 if place else before)
                self.targets.append(context.completion_ids[place])
                self.owners.append(owner)
                self.places.append(place)


class Packer:
    """Builds packed rows for one model."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        encoder: PictureEncoder | None,
        share_prompts: bool,
        max_pixel_bytes: int = 256 * 2**20,
        needs_picture: bool = False,
    ) -> None:
        """Keep the parts.

        Args:
            model: a Qwen-VL model; its config tells how patches are merged.
            processor: gives image processor and placeholder id.
            encoder: gives features instead of pixels, encoded once for the whole run, while no
                parameter of the vision tower is trained. Absent: pixels go to the model.
            share_prompts: compute equal prompts of a row once.
            max_pixel_bytes: bytes of pixel rows that are kept between rows; a picture of a million
                pixels has 24 MB.
            needs_picture: give a row without pictures a blank one that nothing shows, so that the
                tower of every process takes part in every pass.
        """
        self._merge_size: int = model.config.vision_config.spatial_merge_size
        self._image_token_id: int = processor.image_token_id
        self._model = unwrap_adapters(model)
        self._encoder = encoder
        self._shares = share_prompts
        self._needs_picture = needs_picture
        self._pixels = PixelStore(processor.image_processor, max_bytes=max_pixel_bytes)

    def pack(self, contexts: Sequence[TokenContext]) -> PackedRow:
        """Return one row with all contexts.

        Raises:
            ExactnessError: ids and pictures of a context disagree.
        """
        draft = _Draft()
        prompts: dict[tuple[Any, ...], Segment] = {}
        for owner, context in enumerate(contexts):
            check_exact(context)
            if self._shares:
                self._append_sharing(draft, owner, context, prompts)
                continue
            whole = draft.append(context.ids, self.positions(context), context.placed)
            first = whole.start + len(context.prompt_ids)
            draft.score(owner, context, first=first, before=first - 1)
        return self._finish(draft)

    def _append_sharing(
        self,
        draft: _Draft,
        owner: int,
        context: TokenContext,
        prompts: dict[tuple[Any, ...], Segment],
    ) -> None:
        length = len(context.prompt_ids)
        num_shown = sum(placed.turn == 0 for placed in context.placed)
        shown, seen = context.placed[:num_shown], context.placed[num_shown:]
        positions = self.positions(context)
        key = (tuple(context.prompt_ids), tuple(placed.digest for placed in shown))
        if key not in prompts:
            prompts[key] = draft.append(context.prompt_ids, positions[:, :length], shown)
        prompt = prompts[key]
        if context.completion_ids:
            bounds = (prompt.start, prompt.end)
            own = draft.append(context.completion_ids, positions[:, length:], seen, prefix=bounds)
            draft.score(owner, context, first=own.start, before=prompt.end - 1)

    def positions(self, context: TokenContext) -> torch.Tensor:
        """Return [3, P + T] the M-RoPE positions that the model gives a context alone."""
        grids = [placed.grid_thw for placed in context.placed]
        return rope_positions(
            context.ids, grids, pad_id=self._image_token_id, merge=self._merge_size
        )

    def _finish(self, draft: _Draft) -> PackedRow:
        targets = torch.tensor([draft.targets], dtype=torch.long)
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([draft.ids]),
            # TRL counts tokens with it; a packed row has no padding to mask.
            "attention_mask": torch.ones(1, len(draft.ids), dtype=torch.long),
            "position_ids": torch.cat(draft.positions, dim=1)[:, None],
            "segments": torch.tensor(draft.segments),
            "sources": torch.tensor([draft.sources], dtype=torch.long),
            "labels": targets,
            # Says to the trainer that no label stands at a first position that nothing predicts.
            "shift_labels": targets,
        }
        self._add_pictures(inputs, draft)
        inputs["row_seal"] = seal_row(inputs)
        return PackedRow(
            inputs,
            torch.tensor(draft.owners, dtype=torch.long),
            torch.tensor(draft.places, dtype=torch.long),
        )

    def _add_pictures(self, inputs: dict[str, Any], draft: _Draft) -> None:
        num_pads = int((inputs["input_ids"] == self._image_token_id).sum())
        num_tokens = sum(placed.num_tokens for placed in draft.placed)
        if num_pads != num_tokens:
            raise ExactnessError(
                "packed row",
                f"{num_pads} placeholders but the pictures have {num_tokens}",
                "this is a fault of ours: a picture was lost or doubled while packing",
            )
        encoder = None if is_trainable(self._model.model.visual) else self._encoder
        if not draft.placed:
            if self._needs_picture and encoder is None:
                inputs["pixel_values"], inputs["image_grid_thw"] = self._pixels.blank()
                inputs["picture_index"] = torch.zeros(0, dtype=torch.long)
            return
        number: dict[str, int] = {}
        for placed in draft.placed:
            number.setdefault(placed.digest, len(number))
        known = {placed.digest: placed for placed in draft.placed}
        distinct = [known[digest] for digest in number]
        inputs["picture_index"] = torch.tensor([number[placed.digest] for placed in draft.placed])
        if encoder is None:
            inputs["pixel_values"], inputs["image_grid_thw"] = self._pixels.rows(distinct)
            return
        output, inputs["image_grid_thw"] = encoder.encode_placed(distinct)
        for placed, grid in zip(distinct, inputs["image_grid_thw"], strict=True):
            check_grid(placed, grid)
        inputs["mm_encoder_outputs"] = {"image": output}
