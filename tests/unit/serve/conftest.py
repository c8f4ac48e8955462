"""A real server on a free port, with a scripted policy behind it."""

import base64
import io
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from PIL import Image

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.params import AgentParams, Params, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.serve.app import Service, create_app
from agentic_vlm.serve.limits import Limits
from agentic_vlm.tools.toolbox import Toolkit

CELL = "image_2.size"


@pytest.fixture
def turn() -> Callable[[str], str]:
    """Give a builder of turns that run code."""
    return lambda code: f"<think>look</think><code>\n```python\n{code}\n```\n</code>"


@pytest.fixture
def data_uri() -> Callable[..., str]:
    """Give a builder of pictures as data addresses."""

    def make(colour: str = "red", size: tuple[int, int] = (40, 32)) -> str:
        stream = io.BytesIO()
        Image.new("RGB", size, colour).save(stream, format="PNG")
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()

    return make


class Server(uvicorn.Server):
    """A server in a thread of the test."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.is_up = threading.Event()
        config = uvicorn.Config(create_app(service), port=0, log_level="critical", lifespan="off")
        super().__init__(config)
        self.thread = threading.Thread(target=self.run, daemon=True)

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets=sockets)
        self.is_up.set()

    @property
    def url(self) -> str:
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Give a function that starts a server over a script; it ends with the test."""
    servers: list[Server] = []

    def start(
        script,
        *,
        policy=None,
        limits: Limits | None = None,
        key: str | None = "secret",
        provider: FakeSearch | None = None,
        sandbox=None,
    ) -> Server:
        agent = AgentParams(deterministic=False, max_concurrent=32)
        known = {CELL: CellResult(CellStatus.OK, value="(40, 32)")}
        kit = Toolkit(
            agent=agent, vision=VisionParams(), search=SearchParams(),
            sandbox=sandbox or FakeSandbox(known), provider=provider or FakeSearch(),
        )  # fmt: skip
        runtime = Runtime(policy or ScriptedPolicy(script), None, kit)
        service = Service(runtime, Params(agent=agent), "agent", limits or Limits(), key)
        server = Server(service)
        servers.append(server)
        server.thread.start()
        assert server.is_up.wait(60)
        return server

    yield start
    for server in servers:
        server.should_exit = True
        server.force_exit = True
    for server in servers:
        server.thread.join(60)
