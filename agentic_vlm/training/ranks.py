"""How many processes train together, and whether they share out the weights."""

import os

import torch
from accelerate import PartialState


def count_ranks() -> int:
    """Return the number of processes, as `accelerate launch` or torchrun started them."""
    # Without `cpu`, accelerate looks for cards only and takes processes without them for one.
    return int(PartialState(cpu=not torch.cuda.is_available()).num_processes)


def is_sharded() -> bool:
    """Tell whether the launcher asks for FSDP, so that no process holds the whole weights."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true", "yes")
