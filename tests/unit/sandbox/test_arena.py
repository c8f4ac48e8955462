"""What a dead session printed is read as it would have been shown, whatever is in the memory."""

import os

from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.sandbox.arena import Arena, copy_memory, create, map_memory
from agentic_vlm.sandbox.output import Capture, cut_middle


@given(
    texts=st.lists(st.text("aé日😀\n", max_size=40), max_size=12),
    max_chars=st.integers(1, 60),
)
def test_the_copy_equals_what_would_have_been_shown(texts: list[str], max_chars: int) -> None:
    descriptor = create(max_chars=max_chars)
    arena = Arena(map_memory(descriptor, max_chars=max_chars), max_chars=max_chars)
    capture = Capture(max_chars=max_chars, mirror=arena.stdout)
    for text in texts:
        capture.write(text)
    seen = Arena(copy_memory(descriptor, max_chars=max_chars), max_chars=max_chars)
    os.close(descriptor)
    assert seen.stdout.read() == cut_middle("".join(texts), max_chars=max_chars)
    assert seen.stderr.read() == ("", 0)


@given(scribble=st.binary(min_size=200, max_size=200))
def test_scribbled_memory_is_read_within_the_limit(scribble: bytes) -> None:
    text, num_dropped = Arena(memoryview(scribble), max_chars=20).stdout.read()
    assert len(text) <= 20 + 64
    assert num_dropped >= 0
