"""Export: a checkpoint of the chain as a folder for other people and for servers."""

import json
import shutil
from pathlib import Path

from agentic_vlm.backends.vllm_folder import add_video_slot
from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.training.checkpoint import read_card

_STOCK_PROCESSOR = "PaddleOCRVLProcessor"
"""A processor of transformers with images and no video slot: loads without torchvision."""


def export_checkpoint(folder: Path, out: Path, *, is_stock: bool) -> Path:
    """Copy weights and processor to a new folder with a model card.

    Weights are merged already: training leaves no adapters behind.

    Args:
        folder: a checkpoint of the chain.
        out: the new folder.
        is_stock: name a stock processor where the checkpoint brings one of its own, so that the
            folder loads in a process without this package and without `trust_remote_code`.

    Raises:
        ArtifactMissing: `folder` holds no checkpoint.
        FileExistsError: `out` is there already.
    """
    if not (folder / "config.json").exists():
        fix = "name a folder under models/, such as models/rl"
        raise ArtifactMissing(str(folder), "no checkpoint here", fix)
    ignored = shutil.ignore_patterns("card.json", "README.md", *(["*.py"] if is_stock else []))
    shutil.copytree(folder, out, ignore=ignored)
    if is_stock:
        _name_stock_processor(folder, out)
    else:
        add_video_slot(out)
    (out / "README.md").write_text(_model_card(folder, is_stock=is_stock), encoding="utf-8")
    return out


def _name_stock_processor(folder: Path, out: Path) -> None:
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = out / name
        config = json.loads(path.read_text(encoding="utf-8"))
        # A published model names a stock processor already; ours brings its file.
        if config.pop("auto_map", None) is not None or any(folder.glob("*.py")):
            config["processor_class"] = _STOCK_PROCESSOR
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _model_card(folder: Path, *, is_stock: bool) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    head = f"---\nlibrary_name: transformers\nmodel_type: {config['model_type']}\n---\n"
    lines = [head, f"# {folder.name}", ""]
    if (folder / "card.json").exists():
        card = read_card(folder)
        lines += [
            f"Checkpoint `{card.checkpoint_id}` of stage `{card.stage}`, "
            f"{card.num_parameters:,} parameters, {card.step} steps from "
            f"`{card.parent or 'random weights'}`, seed {card.seed}.",
            "",
            *(f"- {note}" for note in card.notes),
        ]
    lines += [
        "",
        "An agentic vision-language model: it thinks in `<think>`, runs Python in `<code>`,",
        "searches in `<tool_call>` and answers in `<answer>`. It expects a loop that answers.",
        "",
        "Loads with `AutoModelForImageTextToText` and `AutoProcessor`"
        + (
            "."
            if is_stock
            else " and `trust_remote_code=True`, or after this package's `register`."
        ),
        "",
    ]
    return "\n".join(lines)
