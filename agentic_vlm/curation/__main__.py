"""`python -m agentic_vlm.curation`: the data card of a project."""

import argparse
import sys
from pathlib import Path

from agentic_vlm.curation.card import CARD, write_card
from agentic_vlm.errors import AgenticError
from agentic_vlm.params import load_params


def main() -> int:
    """Write the card and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.curation",
        description="Write the data card: sources, licences, counts, rejections, pools, examples.",
        epilog="Example: python -m agentic_vlm.curation --out card",
    )
    parser.add_argument("--out", type=Path, default=Path("card"), help="folder to write into")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    options = parser.parse_args()
    try:
        params = load_params(options.root / "params.yaml")
        num_attempts = params.probe.num_attempts
        write_card(options.root, params.ingest, num_attempts=num_attempts, folder=options.out)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{options.out / CARD}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
