"""Checkpoints: weights, processor and the card that says where they come from."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentic_vlm.schema import CheckpointCard

_CARD = "card.json"
_HOW_IT_WAS_READ = ("is_local", "local_files_only")


def checkpoint_digest(folder: Path) -> str:
    """Return 16 hex digits over all files of a checkpoint except its card.

    Args:
        folder: weights, config, tokenizer, chat template and image limits.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (_CARD, "README.md"):
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def save_checkpoint(
    folder: Path,
    model: Any,
    processor: Any,
    *,
    stage: str,
    parent: str,
    step: int,
    seed: int,
    code_sha256: str = "",
    command: str = "",
    notes: tuple[str, ...] = (),
) -> CheckpointCard:
    """Write weights, processor and card; the folder appears complete or not at all.

    Args:
        folder: where to; an older checkpoint there is replaced.
        model: has `save_pretrained`.
        processor: has `save_pretrained`.
        stage: the stage that made it.
        parent: checkpoint_id of the checkpoint it started from; empty for the base.
        step: optimiser steps of this stage.
        seed: seed of this stage.
        code_sha256: digest of the code that made it, for the frozen base.
        command: command that makes it again.
        notes: measured facts, one sentence each.
    """
    with _appearing_whole(folder) as draft:
        model.save_pretrained(draft)
        processor.save_pretrained(draft)
        _forget_how_it_was_read(draft)
        card = CheckpointCard(
            checkpoint_id=checkpoint_digest(draft),
            stage=stage,
            parent=parent,
            architecture=type(model).__name__,
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            step=step,
            seed=seed,
            code_sha256=code_sha256,
            command=command,
            notes=notes,
        )
        (draft / _CARD).write_text(card.model_dump_json(indent=2) + "\n")
    return card


def _forget_how_it_was_read(folder: Path) -> None:
    """Leave out of the tokenizer's settings whether it was read with or without a network.

    transformers writes it down, so that equal weights had another id where HF_HUB_OFFLINE was set.
    """
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for name in _HOW_IT_WAS_READ:
        settings.pop(name, None)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _appearing_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to write to that takes the place of `folder` in the end."""
    draft = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def read_card(folder: Path) -> CheckpointCard:
    """Return the card of a checkpoint folder."""
    return CheckpointCard.model_validate_json((folder / _CARD).read_text())
