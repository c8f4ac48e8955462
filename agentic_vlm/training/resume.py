"""Where a killed training goes on."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers.trainer_utils import get_last_checkpoint


def last_checkpoint(scratch: Path) -> str | None:
    """Return the newest complete checkpoint of a trainer, or none.

    A checkpoint is complete once its trainer state is there, which the trainer writes last.
    """
    found = get_last_checkpoint(str(scratch)) if scratch.exists() else None
    if found is None or not (Path(found) / "trainer_state.json").exists():
        return None
    return str(found)


def save_state(state: Mapping[str, object], path: Path) -> None:
    """Write the state of a training loop; the file is complete or unchanged."""
    draft = path.with_suffix(".tmp")
    torch.save(dict(state), draft)
    os.replace(draft, path)
