"""Training curves as CSV, for `dvc plots` and for people."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_curve(path: Path, rows: Sequence[Mapping[str, float]], *, columns: Sequence[str]) -> None:
    """Write one row per step; values that a row lacks stay empty.

    Args:
        path: the CSV file; replaced in one step.
        rows: one mapping per step.
        columns: which values, in order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with draft.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(column)) for column in columns])
    os.replace(draft, path)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
