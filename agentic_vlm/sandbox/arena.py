"""What a session has written so far, in memory that host and session share.

A cell that dies takes its variables along, not its output. The session writes, the host reads
after the session's death and trusts nothing: every length is cut to the size of the region.
"""

import fcntl
import os
import struct

from agentic_vlm.sandbox import linux
from agentic_vlm.sandbox.output import join_parts

_HEADER = struct.Struct("<QIQ")  # characters in all, bytes of the head, bytes ever put in the tail
_BYTES_PER_CHAR = 4
_F_ADD_SEALS = 1033
_SEALS = 0x0001 | 0x0002 | 0x0004
"""No further seals, no shrinking (a shrunk map kills its reader by SIGBUS), no growing."""


class Strip:
    """One stream: a head that fills up, then a ring that holds the last bytes."""

    def __init__(self, memory: memoryview, *, max_chars: int) -> None:
        self._memory = memory
        self.num_head_chars = (max_chars + 1) // 2
        self.num_tail_chars = max_chars - self.num_head_chars
        self._tail_start = _HEADER.size + _BYTES_PER_CHAR * self.num_head_chars
        self._ring_bytes = _BYTES_PER_CHAR * self.num_tail_chars
        self._num_chars = self._num_head = self._num_tail = 0

    @staticmethod
    def size_bytes(max_chars: int) -> int:
        """Return how much memory a stream of so many characters takes."""
        return _HEADER.size + _BYTES_PER_CHAR * max_chars

    def clear(self) -> None:
        """Forget everything."""
        self._num_chars = self._num_head = self._num_tail = 0
        self._note()

    def add(self, head: str, tail: str) -> None:
        """Append text; the caller says how much of it belongs to the head."""
        self._num_chars += len(head) + len(tail)
        if head:
            encoded = head.encode("utf-8", "replace")
            begin = _HEADER.size + self._num_head
            self._memory[begin : begin + len(encoded)] = encoded
            self._num_head += len(encoded)
        if tail:
            self._add_to_ring(tail.encode("utf-8", "replace"))
        self._note()

    def _add_to_ring(self, encoded: bytes) -> None:
        self._num_tail += len(encoded)
        kept = encoded[-self._ring_bytes :] if self._ring_bytes else b""
        position = (self._num_tail - len(kept)) % max(1, self._ring_bytes)
        first = min(len(kept), self._ring_bytes - position)
        begin = self._tail_start
        self._memory[begin + position : begin + position + first] = kept[:first]
        self._memory[begin : begin + len(kept) - first] = kept[first:]

    def _note(self) -> None:
        _HEADER.pack_into(self._memory, 0, self._num_chars, self._num_head, self._num_tail)

    def read(self) -> tuple[str, int]:
        """Return the text, cut in the middle like any output, and the characters left out."""
        num_chars, num_head, num_tail = _HEADER.unpack_from(self._memory, 0)
        begin = _HEADER.size
        head = bytes(self._memory[begin : min(begin + num_head, self._tail_start)])
        ring = bytes(self._memory[self._tail_start : self._tail_start + self._ring_bytes])
        if num_tail <= self._ring_bytes:
            tail = ring[:num_tail]
        else:
            cut = num_tail % self._ring_bytes if self._ring_bytes else 0
            tail = ring[cut:] + ring[:cut]
        head_text = head.decode("utf-8", "replace")[: self.num_head_chars]
        tail_text = tail.decode("utf-8", "ignore")
        tail_text = tail_text[max(0, len(tail_text) - self.num_tail_chars) :]
        num_dropped = max(0, min(num_chars, 1 << 40) - len(head_text) - len(tail_text))
        return join_parts(head_text, num_dropped, tail_text), num_dropped


class Arena:
    """Standard output and standard error of one session."""

    def __init__(self, memory: memoryview, *, max_chars: int) -> None:
        """Divide the memory of `size_bytes(max_chars)` among the streams."""
        middle = Strip.size_bytes(max_chars)
        self.stdout = Strip(memory[:middle], max_chars=max_chars)
        self.stderr = Strip(memory[middle:], max_chars=max_chars)


def size_bytes(max_chars: int) -> int:
    """Return how much memory both streams take."""
    return 2 * Strip.size_bytes(max_chars)


def map_memory(descriptor: int, *, max_chars: int) -> memoryview:
    """Return the shared memory behind a descriptor, which may be closed afterwards.

    Raises:
        OSError: it cannot be mapped.
    """
    return linux.map_shared(descriptor, size_bytes(max_chars))


def copy_memory(descriptor: int, *, max_chars: int) -> memoryview:
    """Return what the memory behind a descriptor holds now."""
    return memoryview(os.pread(descriptor, size_bytes(max_chars), 0))


def create(*, max_chars: int) -> int:
    """Return a descriptor of fresh memory that nobody can resize."""
    descriptor = os.memfd_create("output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes(max_chars))
    fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEALS)
    return descriptor
