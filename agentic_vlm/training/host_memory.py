"""Host memory that was freed, given back to the operating system."""

import ctypes

_libc = ctypes.CDLL(None)


def release_freed_memory() -> None:
    """Let the allocator give back what is free; does nothing where it is not glibc's.

    Pictures are decoded and encoded in many threads, each with a heap of its own, and glibc keeps
    holes of these heaps: 0.3 GB after 512 episodes of 4 pictures.
    """
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
