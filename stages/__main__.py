"""`python -m stages`: the map; `check`: what is missing; `summary`: scores and seconds."""

import argparse
import importlib
import json
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from agentic_vlm.errors import AgenticError
from agentic_vlm.params import load_params
from agentic_vlm.preflight import find_obstacles
from agentic_vlm.stage import Stage
from stages import STAGES

_MODELS = ("base", "sft", "rl")
_KINDS = ("direct", "tool", "all")


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


def _print_summary(console: Console, root: Path) -> int:
    summary_path = root / "metrics" / "summary.json"
    timings_path = root / "metrics" / "timings.json"
    if summary_path.exists():
        models = json.loads(summary_path.read_text(encoding="utf-8"))["models"]
        console.print(_score_table(models))
    else:
        console.print("no scores: metrics/summary.json is written by the stage report")
    if timings_path.exists():
        runs = json.loads(timings_path.read_text(encoding="utf-8"))
        console.print(_timing_table(runs))
    console.print(
        "next: data/reports/ (tables, figures, examples); "
        "python -m agentic_vlm.store.query (questions in SQL)",
        markup=False,
        highlight=False,
    )
    return 0


# The summary is a file of ours whose models and kinds depend on the recipe.
def _score_table(models: dict[str, dict[str, dict[str, object]]]) -> Table:
    table = Table("model", "questions", "accuracy", "95 % interval", "n", box=box.SIMPLE)
    table.add_column("calls per answer")
    names = [name for name in _MODELS if name in models]
    names += sorted(set(models) - set(_MODELS))
    for name in names:
        for kind in (kind for kind in _KINDS if kind in models[name]):
            row = models[name][kind]
            score = row["accuracy"]
            assert isinstance(score, dict), f"models.{name}.{kind}.accuracy is no mapping"
            table.add_row(
                name,
                kind,
                _percent(score["mean"]),
                f"{_percent(score['low'])} to {_percent(score['high'])}",
                str(score["n"]),
                str(row.get("calls", "")),
            )
    return table


def _timing_table(runs: dict[str, dict[str, float]]) -> Table:
    table = Table("stage", "seconds", "peak memory, MiB", box=box.SIMPLE)
    for name, run in sorted(runs.items(), key=_stage_order):
        table.add_row(name, f"{run['wall_s']:.1f}", f"{run['peak_memory_mb']:.0f}")
    table.add_row("all", f"{sum(run['wall_s'] for run in runs.values()):.1f}", "")
    return table


def _stage_order(named_run: tuple[str, object]) -> tuple[int, str]:
    name = named_run[0]
    stage = name.split("-")[0]
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), name)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


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
                return _print_summary(console, options.root)
            case _:
                return _print_map(console)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
