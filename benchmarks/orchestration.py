"""What DVC and the flow cost on top of the stages: `python benchmarks/orchestration.py`.

Eleven trivial stages in a chain, in a folder of their own, with a Prefect server of their own.
Every figure is a median; the last line is all of them as JSON. Baseline in the same run: the same
commands run one after another by hand.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
sys.path.insert(0, str(ROOT))  # `flows` is no installed package
DVC = [PYTHON, "-m", "dvc"]
FLOW = [PYTHON, "-m", "flows.reproduce", "--jobs", "2", "--root", "."]


def main() -> int:
    """Measure, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, default=11, help="stages in the chain")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestration-") as name:
        root = Path(name)
        environment = make_project(root, options.stages)
        with server(root, environment):
            figures = measure(root, environment, options.stages, options.repeats)
    for key, value in figures.items():
        print(f"{key:36} {value}")
    print(json.dumps(figures))
    return 0


def make_project(root: Path, num_stages: int) -> dict[str, str]:
    """Write the chain and return the environment of its commands."""
    lines = ["stages:"]
    for number in range(num_stages):
        given = f"out-{number - 1}.txt" if number else "given.txt"
        lines += [f"  part{number}:", f"    cmd: exec {command(number)}"]
        lines += [f"    deps: [{given}]", f"    outs: [out-{number}.txt]"]
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "given.txt").write_text("given", encoding="utf-8")
    (root / "part.py").write_text(
        "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])", encoding="utf-8"
    )
    environment = {
        **{key: value for key, value in os.environ.items() if "PREFECT" not in key},
        "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    (root / "prefect").mkdir()
    run([*DVC, "init", "--no-scm", "-q"], root, environment)
    return environment


def command(number: int) -> str:
    """Return the command of a stage of the chain."""
    return f"python part.py out-{number}.txt {number}"


@contextmanager
def server(root: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a Prefect server for the block and name it in the environment."""
    from flows.proc import end_child, start_child
    from flows.services import free_port

    port = free_port()
    os.environ.update({key: value for key, value in environment.items() if "PREFECT" in key})
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (root / "server.txt").open("w", encoding="utf-8") as output:
        child = start_child([PYTHON, "-m", "prefect", *words], cwd=root, output=output)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health")
        environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        yield
    finally:
        end_child(child)


def wait_for(address: str) -> None:
    """Return once the server answers."""
    for _ in range(3000):
        try:
            if requests.get(address, timeout=60).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


def measure(
    root: Path, environment: dict[str, str], num_stages: int, repeats: int
) -> dict[str, float | int]:
    """Return seconds by name; `added_per_stage` are those above the commands by hand."""

    def by_hand() -> None:
        for number in range(num_stages):
            run(command(number).split(), root, environment)

    def timed(kind: Callable[[], object]) -> float:
        seconds = []
        for _ in range(repeats):
            start_s = time.perf_counter()
            kind()
            seconds.append(time.perf_counter() - start_s)
        return statistics.median(seconds)

    hand_s = timed(by_hand)
    repro_s = timed(lambda: run([*DVC, "repro", "--force"], root, environment))
    flow_s = timed(lambda: run([*FLOW, "--force"], root, environment))
    noop_repro_s = timed(lambda: run([*DVC, "repro"], root, environment))
    noop_flow_s = timed(lambda: run(FLOW, root, environment))
    return {
        "stages": num_stages,
        "repeats": repeats,
        "by_hand_s": round(hand_s, 2),
        "noop_repro_s": round(noop_repro_s, 2),
        "noop_flow_s": round(noop_flow_s, 2),
        "noop_flow_over_repro": round(noop_flow_s / noop_repro_s, 2),
        "repro_s": round(repro_s, 2),
        "flow_s": round(flow_s, 2),
        "repro_added_per_stage_s": round((repro_s - hand_s) / num_stages, 2),
        "flow_added_per_stage_s": round((flow_s - hand_s) / num_stages, 2),
    }


def run(words: list[str], root: Path, environment: dict[str, str]) -> None:
    """Run a command; end with what it said where it fails."""
    done = subprocess.run(
        words, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
