"""Qwen3-VL processor without the video slot.

The stock class needs torchvision, which the CPU environment does not have. This file has no
import of this package: `save_pretrained` copies it beside the weights, so that
`trust_remote_code=True` loads the folder anywhere.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLProcessor


class ImageOnlyQwen3VLProcessor(Qwen3VLProcessor):
    """Tokenizer and image processor of a Qwen3-VL model."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Build without a video processor."""
        super().__init__(  # type: ignore[no-untyped-call]  # untyped in transformers
            image_processor, tokenizer, None, chat_template=chat_template
        )

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        """Render messages; pixels come back as tensors.

        The PIL backend returns numpy arrays unless return_tensors is given, and TRL wants tensors.
        """
        out: Any = super().apply_chat_template(*args, **kwargs)
        if hasattr(out, "keys"):
            for key in {"pixel_values", "image_grid_thw"} & set(out.keys()):
                out[key] = torch.as_tensor(out[key])
        return out

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        """Save without a class name.

        AutoProcessor looks for a name first, and an unknown one silently gives a bare tokenizer.
        """
        out = super().save_pretrained(save_directory, *args, **kwargs)
        for name in ("processor_config.json", "tokenizer_config.json"):
            path = Path(save_directory, name)
            config = json.loads(path.read_text())
            config.pop("processor_class", None)
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        return out


ImageOnlyQwen3VLProcessor.register_for_auto_class(  # type: ignore[no-untyped-call]  # likewise
    "AutoProcessor"
)
