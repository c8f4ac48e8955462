"""Limits of the endpoint, and the gate that keeps to them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentic_vlm.serve.faults import Busy


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost, and how many may run."""

    max_body_bytes: int = 48 << 20
    """Largest request; base64 makes pictures a third larger."""
    max_image_bytes: int = 16 << 20
    """Largest encoded picture."""
    max_image_pixels: int = 64_000_000
    """Largest decoded picture, px."""
    max_images: int = 16
    """Pictures in one conversation."""
    max_chars: int = 100_000
    """Characters of one conversation."""
    max_running: int = 32
    """Episodes at a time."""
    max_waiting: int = 256
    """Requests that may wait for a place; more are turned away."""
    deadline_s: float = 900.0
    """Wall-clock seconds of one request, its waiting included."""


class Gate:
    """Lets so many requests in at a time, in the order of their coming."""

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self._places = asyncio.Semaphore(limits.max_running)
        self._max_inside = limits.max_running + limits.max_waiting
        self.num_inside = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a place and keep it for the block.

        Raises:
            Busy: too many wait already.
        """
        if self.num_inside >= self._max_inside:
            what = f"{self.num_inside} requests are running or waiting"
            raise Busy("server", what, "try again later")
        self.num_inside += 1
        try:
            async with self._places:
                yield
        finally:
            self.num_inside -= 1
