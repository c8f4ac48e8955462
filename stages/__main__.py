"""`python -m stages`: the map; `check`: what is missing; `summary`: scores and seconds."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from agentic_vlm.analysis.table import score_table
from agentic_vlm.errors import AgenticError
from agentic_vlm.params import load_params
from agentic_vlm.preflight import find_obstacles
from agentic_vlm.stage import Stage
from stages import STAGES


def _print_map(console: Console) -> int:
    table = Table("stage", "reads", "writes", "what it does", box=box.SIMPLE)
    for name in STAGES:
        stage: Stage = importlib.import_module(f"stages.{name}").STAGE
        table.add_row(name, "\n".join(stage.reads), "\n".join(stage.writes), stage.doc)
    console.print(table)
    return 0


def _check(console: Console, root: Path) -> int:
    obstacles = find_obstacles(load_params(root / "params.yaml"), root=root)
    for obstacle in obstacles:
        console.print(str(obstacle), markup=False, highlight=False)
    if obstacles:
        console.print(f"{len(obstacles)} obstacle(s); nothing was run", highlight=False)
        return 1
    console.print("ready: disk, memory, sandbox, base model and servers are as they should be")
    return 0


def _print_summary(root: Path) -> int:
    metrics = root / "metrics"
    summary, timings = _read_json(metrics / "summary.json"), _read_json(metrics / "timings.json")
    sys.stdout.write(score_table(summary, timings))
    return 0


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> int:
    """Do what the first word says and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stages",
        description="Print the map of the pipeline, check this machine, or show the results.",
        epilog="Example: python -m stages check",
    )
    parser.add_argument("what", nargs="?", choices=("map", "check", "summary"), default="map")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    options = parser.parse_args()
    console = Console()
    try:
        match options.what:
            case "check":
                return _check(console, options.root)
            case "summary":
                return _print_summary(options.root)
            case _:
                return _print_map(console)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
