"""`python -m tests.pipeline.replaying ROOT`: run every stage of a project without a network.

Prints what this process wanted to reach all the same, as JSON.
"""

import json
import socket
import sys
from pathlib import Path

from .whole_run import run_all

_ADDRESSES = ("socket.connect", "socket.sendto", "socket.getaddrinfo")


def refuse_network() -> list[str]:
    """Let nothing leave this process but by files and local sockets; return what tries to."""
    tried: list[str] = []

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _ADDRESSES:
            return
        first = arguments[0]
        if isinstance(first, socket.socket) and first.family == socket.AF_UNIX:
            return
        tried.append(f"{event} {arguments[:2]}")
        raise OSError(101, "Network is unreachable")

    sys.addaudithook(refuse)
    return tried


def main() -> None:
    tried = refuse_network()
    run_all(Path(sys.argv[1]))
    sys.stdout.write(f"{json.dumps(tried)}\n")


if __name__ == "__main__":
    main()
