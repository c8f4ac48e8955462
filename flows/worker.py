"""`python -m flows.worker POOL`: run stages of a pool in this checkout, for flows elsewhere."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.settings import ROOT_VARIABLE, WORKER_VARIABLE, prepare_environment


def start_worker(pool: str, root: Path) -> None:
    """Become a Prefect worker of the pool; its flow runs end with it.

    Args:
        pool: name of a process pool; made where it is missing.
        root: checkout in which its flows run.
    """
    prepare_environment(root)
    # What starts flow runs is this very process, after the call below.
    os.environ[WORKER_VARIABLE] = str(os.getpid())
    os.environ[ROOT_VARIABLE] = str(root)
    # Flow runs start elsewhere; they import this package of this checkout.
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # Whoever started us may ignore it; a worker that cannot be interrupted is no good.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = ["-m", "prefect", "worker", "start", "--type", "process", "--pool", pool]
    os.execv(sys.executable, [sys.executable, *words])


def main(arguments: Sequence[str] | None = None) -> int:
    """Register what the pool runs, then serve it; returns only where that fails."""
    options = _parser().parse_args(arguments)
    root = options.root.resolve()
    prepare_environment(root)
    if "PREFECT_API_URL" not in os.environ:
        sys.stderr.write("PREFECT_API_URL: a worker needs the server of the flows\n")
        sys.stderr.write("  fix: export PREFECT_API_URL=http://HOST:4200/api\n")
        return 1
    # Takes a second and reads the environment above.
    from flows.deployments import register_stage

    register_stage(options.pool)
    start_worker(options.pool, root)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.worker",
        description="Run the stages whose `meta.pool` in dvc.yaml is POOL, in this checkout. Its "
        "params.yaml, dvc.lock and data are replaced by those of the flow that sends a stage.",
        epilog="Example: PREFECT_API_URL=http://127.0.0.1:4200/api python -m flows.worker gpu",
    )
    parser.add_argument("pool", help="name of the pool, such as gpu")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the checkout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
