"""Text that a cell writes: bounded in memory, cut in the middle, with a visible mark."""

import io
import re
from typing import Protocol

# An address differs from run to run and says nothing to a model; with it, two equal episodes
# would differ in their tokens.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,16}(?=>)")


def cut_middle(text: str, *, max_chars: int) -> tuple[str, int]:
    r"""Return the text with its middle left out where it is too long, and how much that was.

    >>> cut_middle("0123456789", max_chars=4)
    ('01\n[... 6 characters left out ...]\n89', 6)
    """
    if len(text) <= max_chars:
        return text, 0
    num_head = (max_chars + 1) // 2
    num_tail = max_chars - num_head
    tail = text[len(text) - num_tail :]
    return join_parts(text[:num_head], len(text) - max_chars, tail), len(text) - max_chars


def without_addresses(text: str) -> str:
    """Return the text without memory addresses of objects.

    >>> without_addresses("<object object at 0x7f3a2c1b4d50>")
    '<object object>'
    """
    return _ADDRESS.sub("", text)


def join_parts(head: str, num_dropped: int, tail: str) -> str:
    r"""Return head and tail with a visible mark of what is missing between them.

    >>> join_parts("ab", 0, "cd")
    'abcd'
    """
    if not num_dropped:
        return head + tail
    return f"{head}\n[... {num_dropped} characters left out ...]\n{tail}"


class Mirror(Protocol):
    """Where a stream leaves a copy that outlives the session."""

    def clear(self) -> None:
        """Forget everything."""
        ...

    def add(self, head: str, tail: str) -> None:
        """Append text that belongs to the head, then text that belongs to the tail."""
        ...


class Capture(io.TextIOBase):
    """A text stream that keeps the head and the tail of what is written to it."""

    def __init__(self, *, max_chars: int, mirror: "Mirror | None" = None) -> None:
        """Keep `max_chars` characters; what is kept is copied to `mirror` at once."""
        self._mirror = mirror
        self._num_head = (max_chars + 1) // 2
        self._num_tail = max_chars - self._num_head
        self._clear()

    def _clear(self) -> None:
        self._head = ""
        self._tail: list[str] = []
        self._num_in_tail = 0
        self._num_dropped = 0
        if self._mirror is not None:
            self._mirror.clear()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute
        """Name of the encoding that programs may ask for."""
        return "utf-8"

    def write(self, text: str) -> int:
        """Keep what fits; count the rest."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        shown = without_addresses(text)
        num_free = self._num_head - len(self._head)
        head = ""
        if num_free > 0:
            head, shown = shown[:num_free], shown[num_free:]
            self._head += head
        if self._mirror is not None:
            self._mirror.add(head, shown)
        if shown:
            self._tail.append(shown)
            self._num_in_tail += len(shown)
            # The list may grow to twice the limit, so that joining costs little per write.
            if self._num_in_tail > 2 * self._num_tail + 4096:
                self._trim()
        return len(text)

    def _trim(self) -> str:
        tail = "".join(self._tail)
        num_over = max(0, len(tail) - self._num_tail)
        self._num_dropped += num_over
        tail = tail[num_over:]
        self._tail = [tail]
        self._num_in_tail = len(tail)
        return tail

    def take(self) -> tuple[str, int]:
        """Return the kept text and the number of characters left out, and start afresh."""
        tail, head, num_dropped = self._trim(), self._head, self._num_dropped
        text = join_parts(head, num_dropped, tail)
        self._clear()
        return text, num_dropped
