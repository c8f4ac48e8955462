"""An exported folder loads with stock transformers, in a process without this package."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.training.__main__ import main
from agentic_vlm.training.checkpoint import save_checkpoint
from agentic_vlm.training.export import export_checkpoint

_LOAD = """
import json, sys
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
folder = sys.argv[1]
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder)
content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
text = processor.apply_chat_template([{"role": "user", "content": content}])
inputs = processor(text=[text], images=[Image.new("RGB", (112, 112))], return_tensors="pt")
shape = model(**inputs).logits.shape
ours = [name for name in sys.modules if name.startswith("agentic_vlm")]
print(json.dumps({"tokens": shape[1], "ours": ours}))
"""


@pytest.fixture
def checkpoint(model: Any, processor: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "rl"
    save_checkpoint(
        folder, model, processor, stage="train_rl", parent="abc", step=3, seed=0, notes=("Tiny.",)
    )
    return folder


def test_how_the_tokenizer_was_read_is_no_part_of_a_checkpoint(
    model: Any, processor: Any, tmp_path: Path
) -> None:
    cards = []
    for name, settings in (
        ("with", {"is_local": True, "local_files_only": False}),
        ("without", {}),
    ):
        processor.tokenizer.init_kwargs.update(settings)
        cards.append(
            save_checkpoint(
                tmp_path / name, model, processor, stage="train_rl", parent="", step=0, seed=0
            )
        )
        for key in settings:
            del processor.tokenizer.init_kwargs[key]
    assert cards[0] == cards[1]


@pytest.mark.slow
def test_a_stock_folder_loads_without_this_package(checkpoint: Path, tmp_path: Path) -> None:
    assert main(["export", str(checkpoint), str(tmp_path / "out"), "--stock"]) == 0
    command = [sys.executable, "-c", _LOAD, str(tmp_path / "out")]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["ours"] == []
    assert found["tokens"] > 16


def test_the_model_card_says_where_the_weights_come_from(checkpoint: Path, tmp_path: Path) -> None:
    out = export_checkpoint(checkpoint, tmp_path / "out", is_stock=True)
    card = (out / "README.md").read_text()
    assert "of stage `train_rl`" in card
    assert "3 steps from `abc`" in card
    assert "- Tiny." in card
    assert not list(out.glob("*.py"))
    assert not (out / "card.json").exists()


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="no checkpoint here"):
        export_checkpoint(tmp_path, tmp_path / "out", is_stock=False)
