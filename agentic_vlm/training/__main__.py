"""`python -m agentic_vlm.training plan RECIPE`, `... export CHECKPOINT OUT [--stock]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agentic_vlm.errors import AgenticError
from agentic_vlm.params import merge_params, parse_params, read_yaml
from agentic_vlm.training.export import export_checkpoint
from agentic_vlm.training.plan import CARDS, Estimate, Phase, plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "plan":
            print(_plan(options))
        else:
            out = export_checkpoint(options.checkpoint, options.out, is_stock=options.stock)
            print(f"exported to {out}")
    except (AgenticError, FileExistsError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agentic_vlm.training")
    commands = parser.add_subparsers(dest="command", required=True)
    planned = commands.add_parser("plan", help="estimate time, memory and cost of a recipe")
    planned.add_argument("recipe", help="a name under flows/recipes, or the path of a YAML file")
    planned.add_argument("--card", choices=sorted(CARDS), default="h100")
    planned.add_argument("--cards", type=int, default=1, help="how many")
    planned.add_argument("--price", type=float, help="US dollars per card and hour")
    planned.add_argument("--params", type=Path, default=Path("params.yaml"))
    exported = commands.add_parser("export", help="write a folder that loads elsewhere")
    exported.add_argument("checkpoint", type=Path)
    exported.add_argument("out", type=Path)
    exported.add_argument("--stock", action="store_true", help="for stock transformers")
    return parser


def _plan(options: argparse.Namespace) -> str:
    path = Path(options.recipe)
    if not path.suffix:
        path = options.params.parent / "flows" / "recipes" / f"{options.recipe}.yaml"
    params = parse_params(merge_params(read_yaml(options.params), read_yaml(path)), where=path.name)
    card = CARDS[options.card]
    if options.price is not None:
        card = card._replace(price=options.price)
    return render_estimate(
        plan(params, card=card, num_cards=options.cards),
        title=f"{path.stem}: {params.model.base} on {options.cards} x {options.card}",
    )


def render_estimate(estimate: Estimate, *, title: str) -> str:
    """Return an estimate as text."""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in estimate.step_s.items())
    return "\n".join(
        [
            title,
            _line("cold start", estimate.sft),
            _line("RL", estimate.rl),
            f"  RL step, seconds: {seconds}",
            "  assumed, not measured:",
            *(f"    {note}" for note in estimate.notes),
        ]
    )


def _line(name: str, phase: Phase) -> str:
    fits = "" if phase.fits else "  DOES NOT FIT: more cards, LoRA or smaller rows"
    return (
        f"  {name:<10} {phase.hours:9.2f} h  {phase.memory_gib:7.1f} GiB per card  "
        f"{phase.dollars:9.0f} $" + fits
    )


if __name__ == "__main__":
    sys.exit(main())
