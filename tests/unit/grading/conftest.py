"""A real server on a free port that plays a script."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.servers import Handler, Script


@pytest.fixture
def serve() -> Iterator[Callable[..., Script]]:
    """Give a starter of servers that play a script."""
    servers = []

    def start(*acts: Callable[[Handler], None]) -> Script:
        script = Script(list(acts))
        handler = type("ScriptedHandler", (Handler,), {"script": script})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        script.base_url = f"http://127.0.0.1:{server.server_port}/v1"
        return script

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
