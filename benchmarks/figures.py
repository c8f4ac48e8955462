"""Figures of the search benchmarks: lines of JSON, and the size of a folder."""

import json
import sys
from pathlib import Path


def report(**row: object) -> None:
    """Print a row as one JSON object."""
    rounded = {key: round(one, 4) if isinstance(one, float) else one for key, one in row.items()}
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()


def folder_mb(folder: Path) -> float:
    """Return the size of all files below a folder, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
