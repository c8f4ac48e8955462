"""`python -m agentic_vlm.synthesis`: the training data for other trainers."""

import argparse
import sys
from pathlib import Path

from agentic_vlm.errors import AgenticError
from agentic_vlm.synthesis.export import export_cold_start, export_rl_pool


def main() -> int:
    """Write the wanted files and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.synthesis",
        description="Export the RL pool for verl and the cold-start data for LLaMA-Factory.",
        epilog="Example: python -m agentic_vlm.synthesis --verl out/rl.parquet "
        "--llama-factory out/sft",
    )
    parser.add_argument("--verl", type=Path, metavar="FILE", help="Parquet file to write")
    parser.add_argument("--llama-factory", type=Path, metavar="FOLDER", help="folder to write")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    options = parser.parse_args()
    if options.verl is None and options.llama_factory is None:
        parser.error("name at least one of --verl and --llama-factory")
    try:
        if options.verl is not None:
            print(f"{export_rl_pool(options.root, options.verl)} rows in {options.verl}")
        if options.llama_factory is not None:
            num_rows = export_cold_start(options.root, options.llama_factory)
            print(f"{num_rows} rows in {options.llama_factory}")
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
