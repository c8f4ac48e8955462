"""`python -m flows.reproduce`: the whole flow, with or without a Prefect server."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agentic_vlm.errors import AgenticError

# Read by Prefect when it is imported. The server that it starts for itself takes up to 20 s on a
# small machine, which is just its own limit.
_ENVIRONMENT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow and return the exit status."""
    options = _parser().parse_args(arguments)
    root = options.root.resolve()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    home = Path(os.environ.setdefault("PREFECT_HOME", str(root / ".scratch" / "prefect")))
    # Prefect's own server does not make the folder of its database, and then never answers.
    home.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _stop)
    # Takes a second and reads the environment above.
    from flows.pipeline import with_jobs

    try:
        state = with_jobs(options.jobs)(
            root=root,
            targets=tuple(options.stages),
            is_forced=options.force,
            return_state=True,
        )
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not state.is_completed():
        sys.stderr.write(f"{state.message}\n")
        sys.stderr.write("  fix: the lines above say why; what has finished is not run again\n")
        return 1
    for name, ending in state.result().items():
        sys.stdout.write(f"{name:20} {ending}\n")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that the flow ends its children."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.reproduce",
        description="Run every stage that is out of date as a Prefect flow. The server is the one "
        "that PREFECT_API_URL names; without it, one is started for this run.",
        epilog="Example: python -m flows.reproduce train_sft --jobs 1",
    )
    parser.add_argument("stages", nargs="*", help="stages to run with what they need; default all")
    parser.add_argument("--force", action="store_true", help="run stages that are up to date too")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="stages at once")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
