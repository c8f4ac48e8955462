"""`python -m agentic_vlm.curation`: the data card of a project."""

import argparse
import sys
from pathlib import Path

from agentic_vlm.curation.card import write_card
from agentic_vlm.errors import AgenticError
from agentic_vlm.params import load_params


def main() -> int:
    """Write the card and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.curation",
        description="Write the data card: sources, licences, counts, rejections, matches.",
        epilog="Example: python -m agentic_vlm.curation --out data_card.md",
    )
    parser.add_argument("--out", type=Path, help="file to write; the terminal without it")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    options = parser.parse_args()
    try:
        card = write_card(options.root, load_params(options.root / "params.yaml").ingest)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.out is None:
        sys.stdout.write(card)
    else:
        options.out.write_text(card, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
