"""Servers that a flow needs: started before the first stage that runs, stopped after the last.

params.yaml says which ones are needed, the environment says where they are: with the address set,
a server is only asked whether it answers; without it, the command is run on a free port.
"""

import contextlib
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from agentic_vlm.errors import InfrastructureError
from flows.proc import end_child, start_child

_PATIENCE_VARIABLE = "AGENTIC_SERVICE_PATIENCE_S"
# A server of a 7B model loads for minutes.
_DEFAULT_PATIENCE_S = 900.0
_ASK_EVERY_S = 0.2
_ANSWER_S = 5.0
_NUM_LAST_LINES = 10
_SERVER_FAULT = 500


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of server."""

    name: str
    """What it is, as in AGENTIC_<NAME>_URL and AGENTIC_<NAME>_COMMAND."""
    key: tuple[str, ...]
    """Path of the value in params.yaml that asks for it."""
    value: str
    """The value that does."""
    prefix: str
    """What its address ends with."""
    health: str
    """What is asked below its address; any answer but a server fault (5xx) will do."""

    @property
    def address_variable(self) -> str:
        """Environment variable that holds its address."""
        return f"AGENTIC_{self.name.upper()}_URL"

    @property
    def command_variable(self) -> str:
        """Environment variable that holds the command that starts it."""
        return f"AGENTIC_{self.name.upper()}_COMMAND"

    def is_needed(self, params: Mapping[str, Any]) -> bool:
        """Tell whether the params ask for it."""
        value: Any = params
        for name in self.key:
            value = value.get(name) if isinstance(value, Mapping) else None
        return bool(value == self.value)


SERVICES = (
    Service("policy", ("model", "policy"), "openai", "/v1", "/models"),
    Service("teacher", ("synthesize", "teacher", "type"), "openai", "/v1", "/models"),
    Service("judge", ("grading", "judge"), "openai", "/v1", "/models"),
    Service("sandbox", ("sandbox", "type"), "remote", "", "/health"),
)


class Services:
    """The servers of one flow. Leaving the block ends those that it started."""

    def __init__(self, needed: tuple[Service, ...], *, logs: Path = Path("logs")) -> None:
        """Name what may be needed; nothing is started yet."""
        self._needed = needed
        self._logs = logs
        self._started: list[tuple[Service, subprocess.Popen[str]]] = []
        self._ready: set[str] = set()
        # One thread that lives as long as the servers: they die with the thread that started them.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="services")

    @classmethod
    def of(cls, params: Mapping[str, Any], *, root: Path = Path()) -> Self:
        """Return the services that the params ask for; their output goes to `logs` in the root."""
        needed = tuple(service for service in SERVICES if service.is_needed(params))
        return cls(needed, logs=root / "logs")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for service, child in self._started:
            end_child(child)
            os.environ.pop(service.address_variable, None)
        self._thread.shutdown()

    def ensure(self, *, say: Callable[[str], None]) -> None:
        """Return once every needed server answers; start those without an address.

        Raises:
            InfrastructureError: one has neither address nor command, does not answer, or ended.
        """
        self._thread.submit(self._ensure, say).result()

    def _ensure(self, say: Callable[[str], None]) -> None:
        for service in self._needed:
            if service.name in self._ready:
                continue
            address = os.environ.get(service.address_variable)
            if address:
                _wait(service, address, child=None)
                say(f"{service.name}: answers at {address}")
            else:
                self._start(service, say)
            self._ready.add(service.name)

    def _start(self, service: Service, say: Callable[[str], None]) -> None:
        template = os.environ.get(service.command_variable)
        if not template:
            fix = f"export {service.address_variable}=http://HOST:PORT{service.prefix}, or "
            fix += f"{service.command_variable}='... --port {{port}}' to have it started"
            what = f"{'.'.join(service.key)} is {service.value}, but there is no such server"
            raise InfrastructureError(service.name, what, fix)
        port = free_port()
        command = [word.replace("{port}", str(port)) for word in shlex.split(template)]
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"service-{service.name}.log"
        with log.open("w", encoding="utf-8") as output:
            child = start_child(command, cwd=Path(), output=output)
        self._started.append((service, child))
        address = f"http://127.0.0.1:{port}{service.prefix}"
        say(f"{service.name}: started as process {child.pid}, waiting for {address}")
        try:
            _wait(service, address, child=child)
        except InfrastructureError as error:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_NUM_LAST_LINES:]
            what = "\n".join([error.what, *last])
            raise InfrastructureError(service.name, what, f"{log} says why") from error
        os.environ[service.address_variable] = address
        say(f"{service.name}: answers at {address}")


def _wait(service: Service, address: str, *, child: subprocess.Popen[str] | None) -> None:
    """Return once the server answers.

    Raises:
        InfrastructureError: it did not in time, or its process ended.
    """
    patience_s = float(os.environ.get(_PATIENCE_VARIABLE, _DEFAULT_PATIENCE_S))
    if child is None:
        # One that runs elsewhere is there or is not.
        patience_s = min(patience_s, 4 * _ANSWER_S)
    fault = "it said nothing"
    for _ in _ticks(patience_s):
        if child is not None and child.poll() is not None:
            what = f"its process ended with status {child.returncode} before it answered"
            raise InfrastructureError(service.name, what, "see its log")
        try:
            answer = requests.get(f"{address}{service.health}", timeout=_ANSWER_S)
        except requests.RequestException as error:
            fault = type(error).__name__
            continue
        if answer.status_code < _SERVER_FAULT:
            return
        fault = f"status {answer.status_code}"
    what = f"{address}{service.health} did not answer within {patience_s:g} s ({fault})"
    fix = f"look at that server; {_PATIENCE_VARIABLE} gives it more time"
    raise InfrastructureError(service.name, what, fix)


def _ticks(patience_s: float) -> Iterator[None]:
    deadline_s = time.monotonic() + patience_s
    while True:
        yield
        if time.monotonic() > deadline_s:
            return
        time.sleep(_ASK_EVERY_S)


def free_port() -> int:
    """Return a port of this machine that nobody listened on a moment ago."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
