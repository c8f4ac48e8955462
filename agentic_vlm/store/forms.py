"""Answers as text: a table for people, CSV and JSON for programs."""

import csv
import json
import math
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentic_vlm.store.questions import Answer

FORMS = ("table", "csv", "json")
"""The forms of an answer."""

_MAX_CELL = 80


def write_answer(answer: Answer, stream: TextIO, *, form: str) -> None:
    """Write an answer as `table`, `csv` or `json` (one array of objects).

    Tables shorten long texts; the other two forms are complete.
    """
    if form == "json":
        rows = [dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows]
        stream.write(json.dumps(rows, indent=2, ensure_ascii=False, default=str) + "\n")
    elif form == "csv":
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([_cell(value) for value in row] for row in answer.rows)
    else:
        _write_table(answer, stream)


def _write_table(answer: Answer, stream: TextIO) -> None:
    table = Table(box=box.SIMPLE)
    for place, name in enumerate(answer.columns):
        is_number = any(isinstance(row[place], int | float) for row in answer.rows)
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in answer.rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    # A pipe has no width; folding its lines at 80 signs would make them useless to `grep`.
    width = None if stream.isatty() else 10_000
    console = Console(file=stream, width=width, highlight=False)
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    stream.write("\n".join(line for line in lines if line) + "\n")


def _shown(value: object) -> str:
    text = " ".join(str(_cell(value)).split())
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 3]}..."


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(_plain(value), ensure_ascii=False, default=str)
    return value


def _plain(value: object) -> object:
    """Turn what JSON cannot say, infinity and not-a-number, into null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return value
