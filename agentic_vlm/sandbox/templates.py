"""Templates: pictures that many sessions share copy-on-write instead of receiving them."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import ref

from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.fork_server import ForkServer
from agentic_vlm.sandbox.source import Template

_MIN_PIXELS = 500_000
"""Smaller pictures are sent faster than a template forks beside a waiting spare kernel."""


class TemplateShelf:
    """Templates of the prompts that were opened lately, by the identity of their pictures."""

    def __init__(self, *, max_templates: int) -> None:
        self._max_templates = max_templates
        self._seen: OrderedDict[tuple[int, ...], list[ref[Image.Image]]] = OrderedDict()
        self._templates: OrderedDict[tuple[int, ...], Template] = OrderedDict()
        self._lock = asyncio.Lock()

    async def find(self, server: ForkServer, images: Sequence[Image.Image]) -> Template | None:
        """Return a template with exactly these picture objects, absent at their first use."""
        num_pixels = sum(image.width * image.height for image in images)
        if self._max_templates == 0 or num_pixels < _MIN_PIXELS:
            return None
        key = tuple(id(image) for image in images)
        if not self._is_known(key, images):
            return None
        async with self._lock:
            template = self._templates.get(key)
            if template is None or template.is_dead:
                try:
                    template = await server.make_template(images)
                except SandboxUnavailable:
                    # The pictures are then sent as usual; what fails there is told there.
                    return None
                self._templates[key] = template
                self._trim()
            self._templates.move_to_end(key)
            return template

    def _is_known(self, key: tuple[int, ...], images: Sequence[Image.Image]) -> bool:
        # An id alone may belong to a new object at the place of an old one.
        seen = self._seen.get(key)
        if seen is not None and all(
            one() is image for one, image in zip(seen, images, strict=True)
        ):
            return True
        self._seen[key] = [ref(image) for image in images]
        self._drop(key)
        while len(self._seen) > 16 * self._max_templates:
            self._seen.popitem(last=False)
        return False

    def _trim(self) -> None:
        for key in list(self._templates):
            if len(self._templates) <= self._max_templates:
                return
            self._drop(key)

    def _drop(self, key: tuple[int, ...]) -> None:
        template = self._templates.get(key)
        # Its sessions would end with it.
        if template is not None and not template.kernels:
            template.close()
            del self._templates[key]

    def clear(self) -> None:
        """Close every template."""
        for template in self._templates.values():
            template.close()
        self._templates.clear()
        self._seen.clear()
        self._lock = asyncio.Lock()
