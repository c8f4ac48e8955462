"""Where a killed training goes on."""

from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint


def last_checkpoint(scratch: Path) -> str | None:
    """Return the newest complete checkpoint of a trainer, or none.

    A checkpoint is complete once its trainer state is there, which the trainer writes last.
    """
    found = get_last_checkpoint(str(scratch)) if scratch.exists() else None
    if found is None or not (Path(found) / "trainer_state.json").exists():
        return None
    return str(found)
