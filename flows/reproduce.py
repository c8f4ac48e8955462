"""`python -m flows.reproduce`: the whole flow, with or without a Prefect server."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from agentic_vlm.errors import AgenticError
from flows.settings import prepare_environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow and return the exit status."""
    options = _parser().parse_args(arguments)
    root = options.root.resolve()
    prepare_environment(root)
    signal.signal(signal.SIGTERM, _stop)
    try:
        state = _run(options, root)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not state.is_completed():
        sys.stderr.write(f"{state.message}\n")
        sys.stderr.write("  fix: the lines above say why; what has finished is not run again\n")
        return 1
    if options.apart:
        sys.stdout.write(f"recorded: dvc exp show; dvc exp apply {state.result()} brings it here\n")
        return 0
    for name, ending in state.result().items():
        sys.stdout.write(f"{name:20} {ending}\n")
    return 0


def _run(options: argparse.Namespace, root: Path) -> Any:
    """Run the flow and return its final state."""
    wishes = {
        "recipe": options.recipe,
        "overrides": options.overrides,
        "targets": options.stages,
        "force": options.force,
        "root": root,
    }
    # They take a second and read the environment that `main` sets.
    if options.apart:
        from flows.experiment import experiment

        return experiment(**wishes, name=options.apart, return_state=True)
    from flows.pipeline import with_jobs

    return with_jobs(options.jobs)(**wishes, return_state=True)


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
    parser.add_argument("--recipe", default="", help="recipe to lay over params.yaml first")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="value to set in params.yaml first, such as seed=1; may be given again",
    )
    parser.add_argument(
        "--apart",
        default="",
        metavar="NAME",
        help="run the last commit in a git worktree of its own and keep it as this DVC experiment",
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="stages at once")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
