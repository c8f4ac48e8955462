"""The committed base model is the one that the code makes."""

from pathlib import Path

from agentic_vlm.schema import CheckpointCard
from agentic_vlm.world.provenance import base_code_sha256

_ROOT = Path(__file__).parents[3]
_BASE = _ROOT / "models" / "base"


def test_the_card_of_the_base_model_names_the_code_that_is_here() -> None:
    card = CheckpointCard.model_validate_json((_BASE / "card.json").read_text())
    assert card.code_sha256 == base_code_sha256(), (
        "the code that makes models/base has changed since: run `python -m stages.build_base`"
    )


def test_the_base_model_is_small_enough_for_git() -> None:
    size_bytes = sum(path.stat().st_size for path in _BASE.rglob("*") if path.is_file())
    assert size_bytes <= 16 * 2**20
