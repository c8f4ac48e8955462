"""Command line: `python -m agentic_vlm.sandbox check` and `... serve`."""

import argparse
import asyncio
import sys

from agentic_vlm.errors import AgenticError
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import selftest
from agentic_vlm.sandbox.process import ProcessSandbox

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


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.sandbox",
        epilog="example: python -m agentic_vlm.sandbox check",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="which tier this machine gets, and what holds")
    parser.parse_args(arguments)
    return asyncio.run(check())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
