"""`python -m flows.ui`: Prefect's server with a worker for this checkout, until Ctrl-C."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import requests

from flows.proc import end_child, start_child
from flows.settings import ROOT_VARIABLE, prepare_environment

_POOL = "here"
_PATIENCE_S = 180.0
_ASK_EVERY_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes or a part ends, and return the exit status."""
    options = _parser().parse_args(arguments)
    root = options.root.resolve()
    address = f"http://127.0.0.1:{options.port}"
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    os.environ[ROOT_VARIABLE] = str(root)
    prepare_environment(root)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    children: list[subprocess.Popen[str]] = []
    try:
        children.append(_start(root, "server", *_server_words(options.port)))
        _wait_for(f"{address}/api/health", children[0])
        _register(root)
        children.append(_start(root, "worker", "-m", "flows.worker", _POOL, "--root", str(root)))
        _say(f"Prefect: {address}, deployments: pipeline/here, experiment/apart. Ctrl-C stops it.")
        _say(f"In another terminal: PREFECT_API_URL={address}/api python -m flows.reproduce")
        return _watch(children)
    except (ServerFailed, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n  fix: {root / 'logs'} has what it said\n")
        return 1
    finally:
        # The worker first: it tells the server how its flow runs end.
        for child in reversed(children):
            end_child(child)


class ServerFailed(RuntimeError):
    """Prefect's server did not start."""


def _server_words(port: int) -> tuple[str, ...]:
    return ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))


def _start(root: Path, name: str, *words: str) -> subprocess.Popen[str]:
    (root / "logs").mkdir(exist_ok=True)
    with (root / "logs" / f"prefect-{name}.log").open("w", encoding="utf-8") as output:
        return start_child([sys.executable, *words], cwd=root, output=output)


def _register(root: Path) -> None:
    # Takes a second and reads the environment that `main` sets.
    from flows.dag import load_nodes
    from flows.deployments import register_all

    slots = {slot for node in load_nodes(root) for slot in node.slots}
    register_all(root, pool=_POOL, slots=sorted(slots))


def _wait_for(address: str, server: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            raise ServerFailed(f"Prefect's server ended with status {server.returncode}")
        try:
            if requests.get(address, timeout=_PATIENCE_S).ok:
                return
        except requests.RequestException:
            time.sleep(_ASK_EVERY_S)
    raise ServerFailed(f"{address} did not answer within {_PATIENCE_S:g} s")


def _watch(children: Sequence[subprocess.Popen[str]]) -> int:
    """Wait until a child ends, which none should."""
    pid, status = os.wait()
    part = "server" if pid == children[0].pid else "worker"
    sys.stderr.write(f"the {part} ended with status {os.waitstatus_to_exitcode(status)}\n")
    sys.stderr.write(f"  fix: logs/prefect-{part}.log says why\n")
    return 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0 if number == signal.SIGINT else 128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.ui",
        description="Start Prefect's server on 127.0.0.1 with the deployments of prefect.yaml and "
        "a worker that runs them in this checkout. Nothing leaves this machine.",
        epilog="Example: python -m flows.ui --port 4201",
    )
    parser.add_argument("--port", type=int, default=4200, help="port of the user interface")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
