"""Named questions: one SQL file each, and what they need to know.

The first line of a file is the question, the comments below it are its parameters:

    -- What became of a sample?
    -- $sample_id: a sample, such as those of `select sample_id from samples`
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

from agentic_vlm.errors import QueryError

_QUERIES = Path(__file__).with_name("queries")
_LIST = "`python -m agentic_vlm.store.query` lists the names"


class Question(NamedTuple):
    """A named query."""

    name: str
    """Name of its file."""
    text: str
    """The question."""
    parameters: dict[str, str]
    """What each parameter means, by name without `$`."""
    sql: str
    """The SQL."""


class Answer(NamedTuple):
    """What a query gave."""

    columns: list[str]
    """Names of the columns."""
    rows: list[tuple[object, ...]]
    """Rows in the order of the query."""


def list_questions() -> dict[str, Question]:
    """Return the named queries in order of their names."""
    found = {}
    for path in sorted(_QUERIES.glob("*.sql")):
        sql = path.read_text(encoding="utf-8")
        parameters = dict(re.findall(r"^-- \$(\w+): (.+)$", sql, re.MULTILINE))
        text = sql.splitlines()[0].removeprefix("-- ")
        found[path.stem] = Question(path.stem, text, parameters, sql)
    return found


def answer(connection: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, str]) -> Answer:
    """Run a named query or SQL text.

    Args:
        connection: an open index.
        query: name of a query, or SQL; of several statements the last one answers.
        values: values of the parameters, by name without `$`.

    Raises:
        QueryError: the name is unknown, a value is missing or unknown, or the SQL is wrong.
    """
    question = list_questions().get(query)
    where = f"query {_short(query)}"
    if question is None and re.fullmatch(r"\w*", query):
        raise QueryError(where, f"no query of this name{_nearest(query)}", _LIST)
    sql = query if question is None else question.sql
    try:
        _check_values(where, sql, values, {} if question is None else question.parameters)
        cursor = connection.execute(sql, dict(values) or None)
        columns = [column[0] for column in cursor.description or ()]
        return Answer(columns, cursor.fetchall())
    except duckdb.Error as fault:
        raise _query_error(where, fault) from fault


def _check_values(
    where: str, sql: str, values: Mapping[str, str], meanings: Mapping[str, str]
) -> None:
    statements = duckdb.extract_statements(sql)
    if not statements:
        raise QueryError(where, "no statement in it", f"give SQL or a name; {_LIST}")
    wanted = {str(name) for statement in statements for name in statement.named_parameters}
    missing, unknown = sorted(wanted - set(values)), sorted(set(values) - wanted)
    if missing:
        what = "; ".join(f"${name}: {meanings.get(name, 'no value')}" for name in missing)
        fix = " ".join(f"--value {name}=..." for name in missing)
        raise QueryError(where, f"needs {what}", f"add {fix}")
    if unknown:
        names = ", ".join(f"${name}" for name in sorted(wanted)) or "none"
        raise QueryError(where, f"has no parameter ${unknown[0]}", f"its parameters are: {names}")


def _query_error(where: str, fault: duckdb.Error) -> QueryError:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    hints = [line for line in lines[1:] if line.startswith(("Candidate", "Did you mean"))]
    what = "; ".join([lines[0], *hints[:1]])
    if isinstance(fault, duckdb.PermissionException):
        fix = "questions read the tables only; --allow-files lifts that for this one call"
    elif "read-only" in what or "configuration has been locked" in what:
        fix = "questions cannot change anything; copy what you need with --csv or --json"
    else:
        fix = "correct the SQL; the queries `tables` and `columns` say what there is"
    return QueryError(where, what, fix)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, list_questions(), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _short(query: str) -> str:
    line = " ".join(query.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
