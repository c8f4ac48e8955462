"""Command line: `python -m agentic_vlm.sandbox check` and `... serve`."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from agentic_vlm.errors import AgenticError
from agentic_vlm.params import load_params
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import selftest
from agentic_vlm.sandbox.daemon import Daemon
from agentic_vlm.sandbox.process import ProcessSandbox
from agentic_vlm.sandbox.released import ReleasedContract

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TIERS = {
    "A": "namespaces, an almost empty read-only root, seccomp, and Landlock where there is one",
    "B": "Landlock and seccomp alone: no namespaces here, as in most containers",
    "": "none: model code is refused",
}


async def check() -> int:
    """Start a fork server, say which tier this machine gets and what holds; 0 if code may run."""
    sandbox = ProcessSandbox(SandboxParams(num_spares=0))
    try:
        session = await sandbox.open([], seed=0)
        result = await session.run_cell("import sys; sys.version.split()[0]")
        fault = "" if result.value else result.stderr
    except AgenticError as error:
        fault = str(error)
    print(f"tier {sandbox.tier or '-'}: {_TIERS[sandbox.tier]}")
    for note in sandbox.isolation:
        print(f"  {note}")
    holes = set(sandbox.holes)
    if sandbox.isolation:
        print("self-test, from inside a session:")
        for name in selftest.names():
            print(f"  {'HOLE' if name in holes else 'ok':5} {name}")
    await sandbox.close()
    if fault:
        print(f"model code is refused here: {fault}")
        return 1
    print(f"model code may run, with Python {result.value}")
    return 0


async def serve(arguments: argparse.Namespace) -> int:
    """Serve sessions until SIGTERM or SIGINT, then drain."""
    token = os.environ.get("AGENTIC_SANDBOX_TOKEN", "")
    fault = find_fault(arguments, token=token)
    if fault:
        print(fault, file=sys.stderr)
        return 2
    params = load_params(Path(arguments.params)).sandbox if arguments.params else SandboxParams()
    shares = [str(Path(share).resolve()) for share in arguments.share]
    sandbox = ProcessSandbox(params, shares=shares)
    # Starts the fork server, so that a machine that cannot confine code says so now.
    await (await sandbox.open([], seed=0)).close()
    extra = ReleasedContract(sandbox, max_sessions=arguments.max_sessions)
    daemon = Daemon(
        sandbox,
        sandbox.limits,
        token=token,
        max_sessions=arguments.max_sessions,
        drain_s=arguments.drain_s,
        extra=extra if arguments.released_contract else None,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = await daemon.start(arguments.host, arguments.port)
    print(f"sandbox daemon, tier {sandbox.tier}, on http://{arguments.host}:{port}", flush=True)
    await stop.wait()
    await daemon.close()
    return 0


def find_fault(arguments: argparse.Namespace, *, token: str) -> str:
    """Say what is wrong with how the daemon is to be served; empty where nothing is."""
    is_local = arguments.host in _LOOPBACK
    if not is_local and not token:
        return "export AGENTIC_SANDBOX_TOKEN=... first: others could run code here without one"
    if not is_local and arguments.released_contract:
        return "the released contract knows no token: serve it on 127.0.0.1 only"
    for share in arguments.share:
        path = Path(share).resolve()
        if not path.is_dir():
            return f"--share {share}: no such folder"
        if str(path) == "/" or path.parts[1] in ("proc", "sys", "dev"):
            return f"--share {share}: share a folder of pictures, not the system"
    return ""


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.sandbox",
        epilog="example: python -m agentic_vlm.sandbox check",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="which tier this machine gets, and what holds")
    serving = commands.add_parser(
        "serve",
        help="serve sessions to other machines",
        epilog="example: python -m agentic_vlm.sandbox serve --port 8765 --params params.yaml",
    )
    serving.add_argument("--host", default="127.0.0.1", help="others than this need a token")
    serving.add_argument("--port", type=int, default=8765, help="0: a free one, which is printed")
    serving.add_argument("--params", default="", help="params.yaml with the limits")
    serving.add_argument("--max-sessions", type=int, default=256, help="sessions at the same time")
    serving.add_argument("--drain-s", type=float, default=30.0, help="seconds to finish at the end")
    serving.add_argument(
        "--share", action="append", default=[], metavar="DIR", help="sessions may read this folder"
    )
    serving.add_argument(
        "--released-contract", action="store_true", help="also answer clients of DeepEyesV2"
    )
    asked = parser.parse_args(arguments)
    try:
        return asyncio.run(serve(asked) if asked.command == "serve" else check())
    except AgenticError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
