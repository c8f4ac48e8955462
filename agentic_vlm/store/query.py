"""Questions to the index: `python -m agentic_vlm.store.query NAME|SQL --table|--csv|--json`."""

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import duckdb
from rich import box
from rich.console import Console
from rich.table import Table

from agentic_vlm.errors import AgenticError, ArtifactMissing, RecordError

DEFAULT_INDEX = Path("data/trajectories.duckdb")
_QUERIES = Path(__file__).with_name("queries")


class Answer(NamedTuple):
    """What a query gave."""

    columns: list[str]
    """Names of the columns."""
    rows: list[tuple[object, ...]]
    """Rows in the order of the query."""


def list_queries() -> dict[str, str]:
    """Return the question that each named query answers, by name."""
    paths = sorted(_QUERIES.glob("*.sql"))
    return {path.stem: _first_line(path).removeprefix("-- ") for path in paths}


def run_query(
    query: str, *, index: Path = DEFAULT_INDEX, values: Mapping[str, str] | None = None
) -> Answer:
    """Run a named query or SQL text on the index, which is opened read-only.

    Args:
        query: name of a file in `queries/`, or SQL.
        index: the DuckDB file.
        values: values of the named parameters of the query, such as `$suite`.

    Raises:
        ArtifactMissing: there is no index.
        RecordError: the SQL is wrong.
    """
    if not index.exists():
        raise ArtifactMissing(str(index), "no index here", "run `python -m stages.index`")
    named = _QUERIES / f"{query}.sql"
    sql = named.read_text(encoding="utf-8") if query in list_queries() else query
    with duckdb.connect(str(index), read_only=True) as connection:
        try:
            cursor = connection.execute(sql, dict(values or {}))
            columns = [column[0] for column in cursor.description or ()]
            return Answer(columns, cursor.fetchall())
        except duckdb.Error as fault:
            first = str(fault).splitlines()[0]
            fix = "give a name from `python -m agentic_vlm.store.query`, or correct the SQL"
            raise RecordError(f"query {query!r}", first, fix) from fault


def write_answer(answer: Answer, stream: TextIO, *, form: str) -> None:
    """Write an answer as `table`, `csv` or `json` (one array of objects)."""
    if form == "json":
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        stream.write(json.dumps(rows, indent=2, ensure_ascii=False, default=str) + "\n")
    elif form == "csv":
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([answer.columns, *answer.rows])
    else:
        table = Table(*answer.columns, box=box.SIMPLE)
        for row in answer.rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        Console(file=stream).print(table, markup=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """List the named queries, or answer one; return the exit status."""
    options = _parser().parse_args(arguments)
    if options.query is None:
        width = max(len(name) for name in list_queries())
        for name, question in list_queries().items():
            sys.stdout.write(f"{name:{width}}  {question}\n")
        return 0
    try:
        values = dict(pair.split("=", 1) for pair in options.value)
        answer = run_query(options.query, index=options.index, values=values)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    write_answer(answer, sys.stdout, form=options.form)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.store.query",
        description="Answer a named query or SQL text from the index; without one, list the names.",
        epilog="Example: python -m agentic_vlm.store.query calls_by_family --csv",
    )
    parser.add_argument("query", nargs="?", help="name of a query, or SQL")
    for form in ("table", "csv", "json"):
        parser.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.set_defaults(form="table")
    parser.add_argument("--index", type=Path, default=DEFAULT_INDEX, help="the DuckDB file")
    parser.add_argument(
        "--value", action="append", default=[], metavar="NAME=VALUE", help="value of $NAME"
    )
    return parser


def _first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
