"""The numbers that the paper prints, as reference rows."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple


class PaperTable(NamedTuple):
    """One table of the paper; figures in %, OCRBench in points of 1,000."""

    columns: tuple[str, ...]
    """Benchmarks, as printed; RealX-Bench: its subsets."""
    rows: Mapping[str, tuple[float | None, ...]]
    """Figures by model, in the order of the columns; absent ones are not printed."""

    def figure(self, model: str, column: str) -> float | None:
        """Return one figure, or None where the paper has none."""
        if column not in self.columns or model not in self.rows:
            return None
        return self.rows[model][self.columns.index(column)]


POINT_COLUMNS = frozenset({"OCRB"})
"""Columns in points of 1,000."""


@cache
def paper_table(name: str) -> PaperTable:
    """Return the rows of a table: real_world, mathematics, search, realx or other."""
    file = resources.files("agentic_vlm.evaluation.suites").joinpath("paper_rows.json")
    table = json.loads(file.read_text(encoding="utf-8"))[name]
    rows = {model: tuple(figures) for model, figures in table["rows"].items()}
    return PaperTable(tuple(table["columns"]), rows)
