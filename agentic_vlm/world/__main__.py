"""`python -m agentic_vlm.world show`: a contact sheet of the pocket world."""

import argparse
import sys
from pathlib import Path

from agentic_vlm.params import WorldSource
from agentic_vlm.world.sheet import draw_sheet
from agentic_vlm.world.source import TRAIN, entities_of


def main(arguments: list[str] | None = None) -> int:
    """Draw the sheet and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.world",
        description="Look at the pocket world.",
        epilog="Example: python -m agentic_vlm.world show --out contact_sheet.png",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser(
        "show",
        help="draw questions and answers of every family on one page",
        epilog="Example: python -m agentic_vlm.world show --out sheet.png --split pocket",
    )
    show.add_argument("--out", type=Path, default=Path("contact_sheet.png"), help="PNG to write")
    show.add_argument("--seed", type=int, default=0, help="seed of the world")
    show.add_argument("--split", default=TRAIN, help="`train`, or the name of a held-out suite")
    options = parser.parse_args(arguments)
    everyone = entities_of(WorldSource(seed=options.seed))
    is_train = options.split == TRAIN
    entities = [entity for entity in everyone if entity.is_held_out is not is_train]
    sheet = draw_sheet(options.seed, split=options.split, entities=entities)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, format="PNG")
    print(f"{options.out}: {sheet.width} x {sheet.height} px")
    return 0


if __name__ == "__main__":
    sys.exit(main())
