"""How many threads torch computes with; part of a result, since sums depend on it."""

import torch

from agentic_vlm.stage import num_threads


def use_threads() -> None:
    """Let torch use AGENTIC_THREADS threads, and refuse operations that vary between runs."""
    torch.set_num_threads(num_threads())
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
