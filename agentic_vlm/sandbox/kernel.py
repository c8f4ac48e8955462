"""The loop of a session process: pictures in, then one cell after another."""

import json
import os
import random
import resource
import socket
import sys
import types
from collections.abc import Sequence

import numpy as np
from PIL import Image

from agentic_vlm.sandbox.arena import Arena, map_memory
from agentic_vlm.sandbox.cell import Notebook, rehearse_cell
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.pictures import Gallery
from agentic_vlm.sandbox.wire import LENGTH, encode_frame, receive_exactly, receive_frame

_MB = 1 << 20
# PIL keeps an RGB picture in four bytes per pixel; the copy that came over the wire has three.
_BYTES_PER_INPUT_PIXEL = 8


def receive_pictures(channel: socket.socket) -> tuple[Image.Image, ...]:
    """Read a header with sizes and then the pixels of so many RGB pictures."""
    return _receive_pixels(channel, receive_frame(channel)["sizes"])


def _receive_pixels(channel: socket.socket, sizes: object) -> tuple[Image.Image, ...]:
    pictures = []
    for width, height in sizes:  # type: ignore[attr-defined]  # sent by our own host
        pixels = receive_exactly(channel, width * height * 3)
        pictures.append(Image.frombytes("RGB", (width, height), pixels))
    return tuple(pictures)


def serve(
    channel: socket.socket,
    *,
    arena_fd: int,
    base_bytes: int,
    has_own_processes: bool,
    pictures: Sequence[Image.Image],
) -> None:
    """Answer until the host hangs up. Does not return before that.

    Args:
        channel: the only connection of this process.
        arena_fd: memory in which output outlives this process; it is closed.
        base_bytes: address space in use before the session.
        has_own_processes: whether threads are counted for this session alone.
        pictures: those of the template; the opening's come after them.
    """
    _rehearse()
    opening = receive_frame(channel)
    limits = Limits(**opening["limits"])  # type: ignore[arg-type]  # sent by our own host
    # A real module, because pickle and dataclasses look a class up by the name of its module.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    namespace = module.__dict__
    own = _receive_pixels(channel, opening["sizes"])
    num_pixels = sum(picture.width * picture.height for picture in own)
    for index, picture in enumerate((*pictures, *own), start=1):
        namespace[f"image_{index}"] = picture
    memory = map_memory(arena_fd, max_chars=limits.max_output_chars)
    arena = Arena(memory, max_chars=limits.max_output_chars)
    os.close(arena_fd)
    seed = int(str(opening["seed"]))
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    _limit_resources(
        limits,
        memory_bytes=base_bytes + num_pixels * _BYTES_PER_INPUT_PIXEL + limits.memory_mb * _MB,
        has_own_processes=has_own_processes,
    )
    notebook = Notebook(limits, namespace, arena)
    channel.sendall(b"\n")
    while True:
        request = receive_frame(channel)
        answer = notebook.run(str(request["code"]))
        images = notebook.gallery.images
        answer["id"] = request["id"]
        answer["sizes"] = [list(image.size) for image in images]
        channel.sendall(encode_frame(answer, max_bytes=1 << 30))
        for image in images:
            channel.sendall(image.tobytes())
        notebook.gallery.clear()


def _rehearse() -> None:
    """Do once what the first cell does, so that a waiting kernel has its pages already.

    Memory is shared with the fork server until it is written to; each first write costs a copy.
    """
    Gallery(max_images=1, max_pixels=1).install({})
    random.seed(0)
    np.random.seed(0)
    rehearse_cell()
    frame = encode_frame({"id": 0, "stdout": "", "sizes": []}, max_bytes=1 << 20)
    json.loads(frame[LENGTH.size :])


def run(
    channel: socket.socket,
    *,
    arena_fd: int,
    base_bytes: int,
    has_own_processes: bool,
    pictures: Sequence[Image.Image],
) -> None:
    """Serve, then end the process without running anything that model code left behind."""
    try:
        serve(
            channel,
            arena_fd=arena_fd,
            base_bytes=base_bytes,
            has_own_processes=has_own_processes,
            pictures=pictures,
        )
    except (EOFError, OSError, MemoryError):
        pass
    finally:
        os._exit(0)


def _limit_resources(limits: Limits, *, memory_bytes: int, has_own_processes: bool) -> None:
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: limits.file_mb * _MB,
        resource.RLIMIT_NOFILE: limits.max_open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if has_own_processes:
        wanted[resource.RLIMIT_NPROC] = limits.max_threads
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
