"""A checkpoint folder as vLLM wants it: with a video slot, also where the processor has none.

vLLM builds the stock processor of a Qwen-VL family, which loads its video processor even where no
video is ever shown. Folders of a processor without that slot lack the file; seen with vLLM 0.32.0.
"""

import json
from pathlib import Path

_FILE = "video_preprocessor_config.json"
_TYPES = {"qwen3_vl": "Qwen3VLVideoProcessor", "qwen2_5_vl": "Qwen2VLVideoProcessor"}


def video_slot(folder: Path) -> dict[str, object] | None:
    """Return what `video_preprocessor_config.json` should hold; absent where nothing is missing.

    Args:
        folder: a checkpoint with `config.json`.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = _TYPES.get(config["model_type"])
    path = folder / "processor_config.json"
    if kind is None or (folder / _FILE).exists() or not path.exists():
        return None
    saved = json.loads(path.read_text(encoding="utf-8"))
    if "video_processor" in saved:
        return None
    names = ("patch_size", "temporal_patch_size", "merge_size", "size", "image_mean", "image_std")
    image = saved.get("image_processor", {})
    return {"video_processor_type": kind, **{name: image[name] for name in names if name in image}}


def add_video_slot(folder: Path) -> None:
    """Write the video slot into a folder that lacks it."""
    slot = video_slot(folder)
    if slot is not None:
        text = json.dumps(slot, indent=2, sort_keys=True) + "\n"
        (folder / _FILE).write_text(text, encoding="utf-8")


def link_with_video_slot(checkpoint: Path, folder: Path) -> Path:
    """Return a folder that vLLM loads: the checkpoint itself, or links to its files and the slot.

    Args:
        checkpoint: left as it is.
        folder: empty; gets the links where they are needed.
    """
    if video_slot(checkpoint) is None:
        return checkpoint
    for path in checkpoint.iterdir():
        (folder / path.name).symlink_to(path.absolute())
    add_video_slot(folder)
    return folder
