"""Batches for supervised training: token ids as rendered, with the features of their pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from agentic_vlm.agent.context import TokenContext, check_exact
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.training.packing import Packer

IGNORED = -100
"""Label of tokens that are not trained, as in torch's cross entropy."""


class RowNumber(Protocol):
    """A row of the training set, which holds the number of its context only."""

    def __getitem__(self, key: str) -> int:
        """Return the number."""
        ...


class PackedCollator:
    """Turns a row of the schedule into a packed row; nothing is ever tokenised again."""

    def __init__(self, contexts: Sequence[TokenContext], packer: Packer) -> None:
        """Keep the contexts, which the schedule numbers, and what packs them."""
        self._contexts = contexts
        self._packer = packer

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Any]:
        """Return the packed row; several schedule rows become one.

        Raises:
            ExactnessError: ids and pictures of a context disagree.
        """
        numbers = [number for row in rows for number in row["contexts"]]
        return self._packer.pack([self._contexts[number] for number in numbers]).inputs


class ContextCollator:
    """Turns numbers of contexts into a right-padded batch; the plain form that packing equals."""

    def __init__(
        self,
        contexts: Sequence[TokenContext],
        processor: Any,
        *,
        encoder: PictureEncoder | None,
    ) -> None:
        """Keep the contexts.

        Args:
            contexts: one per row of the training set.
            processor: gives pad id and image processor.
            encoder: encodes each picture once for the whole run; only where the vision tower is
                frozen, for then its features never change. Absent: pixels go to the model.
        """
        self._contexts = contexts
        self._processor = processor
        self._encoder = encoder
        # Trainer drops what a model does not name; the encoder's outputs are named by the model.
        self.pad_id: int = processor.tokenizer.pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Return ids, attention mask, labels, token kinds and pictures.

        Raises:
            ExactnessError: ids and pictures of a context disagree.
        """
        contexts = [self._contexts[row["context"]] for row in rows]
        for context in contexts:
            check_exact(context)
        length = max(context.num_tokens for context in contexts)
        pads = [length - context.num_tokens for context in contexts]
        input_ids = torch.tensor(
            [c.ids + [self.pad_id] * pad for c, pad in zip(contexts, pads, strict=True)]
        )
        batch: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": torch.tensor(
                [[1] * c.num_tokens + [0] * pad for c, pad in zip(contexts, pads, strict=True)]
            ),
            "labels": torch.tensor(
                [_labels(c) + [IGNORED] * pad for c, pad in zip(contexts, pads, strict=True)]
            ),
            "mm_token_type_ids": (input_ids == self._processor.image_token_id).int(),
        }
        images = [image for context in contexts for image in context.images]
        if images:
            self._add_pictures(batch, images)
        return batch

    def _add_pictures(self, batch: dict[str, Any], images: Sequence[Any]) -> None:
        if self._encoder is None:
            features = self._processor.image_processor(images=list(images), return_tensors="pt")
            batch["pixel_values"] = features["pixel_values"]
            batch["image_grid_thw"] = features["image_grid_thw"]
            return
        with torch.no_grad():
            output, grids = self._encoder.encode(images)
        batch["mm_encoder_outputs"] = {"image": output}
        batch["image_grid_thw"] = grids


def _labels(context: TokenContext) -> list[int]:
    trained = zip(context.completion_ids, context.loss_mask, strict=True)
    return [IGNORED] * len(context.prompt_ids) + [
        token if is_trained else IGNORED for token, is_trained in trained
    ]
