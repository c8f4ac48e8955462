"""Memory that was freed goes back to the operating system."""

import resource
import sys
from pathlib import Path

import pytest

from agentic_vlm.training.host_memory import release_freed_memory

_SIZE = 60_000
"""Bytes of a block: small enough for the heap, where holes stay."""


def _resident_bytes() -> int:
    num_pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return num_pages * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no malloc_trim")
def test_holes_of_the_heap_are_given_back() -> None:
    blocks = [b"x" * _SIZE for _ in range(2000)]
    survivors = blocks[::50]
    del blocks
    before = _resident_bytes()
    release_freed_memory()
    assert before - _resident_bytes() > len(survivors) * 25 * _SIZE
