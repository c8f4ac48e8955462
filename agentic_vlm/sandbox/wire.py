"""Frames between host and kernel: a length, a JSON header, then raw pixels.

Nothing here is pickled, and no picture is encoded: the host never runs a decoder on bytes that
came from model code.
"""

import json
import socket
import struct

LENGTH = struct.Struct("!I")
MAX_REQUEST_BYTES = 1 << 24
"""Longest header that a kernel accepts; the code of a cell is in it."""


def encode_frame(header: dict[str, object], *, max_bytes: int) -> bytes:
    """Return the bytes of a header.

    Raises:
        ValueError: the header is longer than `max_bytes`.
    """
    body = json.dumps(header).encode("ascii")
    if len(body) > max_bytes:
        raise ValueError(f"frame of {len(body)} bytes, {max_bytes} are allowed")
    return LENGTH.pack(len(body)) + body


def receive_exactly(channel: socket.socket, num_bytes: int) -> bytearray:
    """Read so many bytes from a blocking socket.

    Raises:
        EOFError: the other side is gone.
    """
    buffer = bytearray(num_bytes)
    view = memoryview(buffer)
    while view:
        num_read = channel.recv_into(view)
        if num_read == 0:
            raise EOFError
        view = view[num_read:]
    return buffer


def receive_frame(channel: socket.socket) -> dict[str, object]:
    """Read one header from a blocking socket.

    Raises:
        EOFError: the other side is gone.
    """
    (num_bytes,) = LENGTH.unpack(receive_exactly(channel, LENGTH.size))
    if num_bytes > MAX_REQUEST_BYTES:
        raise EOFError
    header = json.loads(receive_exactly(channel, num_bytes))
    if not isinstance(header, dict):
        raise EOFError
    return header
