"""Where a killed training goes on, and that it is the same training."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import get_last_checkpoint

from agentic_vlm.errors import RecordError

_CLAIM = "run.json"


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


def claim_scratch(scratch: Path, facts: Mapping[str, str]) -> None:
    """Bind a scratch folder to one training: the first call writes what it depends on.

    Args:
        scratch: folder of resumable checkpoints.
        facts: digests or values by name; equal facts give the same training.

    Raises:
        RecordError: the folder holds checkpoints of a training on other data or params.
    """
    path = scratch / _CLAIM
    if not path.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".tmp-{os.getpid()}")
        draft.write_text(json.dumps(dict(facts), indent=2, sort_keys=True) + "\n")
        os.replace(draft, path)
        return
    before = json.loads(path.read_text())
    changed = sorted(
        name for name in {*before, *facts} if before.get(name) != dict(facts).get(name)
    )
    if changed:
        raise RecordError(
            str(path),
            f"this training was begun with other {', '.join(changed)}",
            "restore them to go on, or delete the folder to begin anew",
        )


def model_digest(model: Any) -> str:
    """Return a digest of all weights by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def text_digest(parts: Iterable[str]) -> str:
    """Return a digest of texts in order.

    >>> text_digest(["a", "b"]) == text_digest(["ab"])
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} {part}".encode())
    return digest.hexdigest()[:16]
