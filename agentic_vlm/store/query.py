"""Questions to the index: `python -m agentic_vlm.store.query NAME|SQL --table|--csv|--json`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentic_vlm.errors import AgenticError
from agentic_vlm.store.database import open_index, open_parts
from agentic_vlm.store.forms import FORMS, write_answer
from agentic_vlm.store.prompt import Prompt, describe_questions, parse_values, read_terminal_line
from agentic_vlm.store.questions import Answer, answer, list_questions

DEFAULT_INDEX = Path("data/trajectories.duckdb")


def run_query(
    query: str,
    *,
    index: Path = DEFAULT_INDEX,
    values: Mapping[str, str] | None = None,
    allow_files: bool = False,
) -> Answer:
    """Run a named query or SQL text on the index, which is opened read-only.

    Args:
        query: name of a file in `queries/`, or SQL.
        index: the DuckDB file.
        values: values of the named parameters of the query, such as `$sample_id`.
        allow_files: let the SQL read and write files and load extensions.

    Raises:
        ArtifactMissing: there is no index.
        QueryError: the index cannot be read, or the question is wrong.
    """
    with open_index(index, allow_files=allow_files) as connection:
        return answer(connection, query, values or {})


def run_live_query(
    query: str,
    *,
    root: Path,
    values: Mapping[str, str] | None = None,
    allow_files: bool = False,
) -> Answer:
    """Run a query on what lies under `root` now, with the parts of running stages.

    Raises:
        ArtifactMissing: there is no project.
        QueryError: the question is wrong.
        RecordError: a part is damaged or of another schema version.
    """
    with open_parts(root, allow_files=allow_files) as connection:
        return answer(connection, query, values or {})


def main(arguments: Sequence[str] | None = None) -> int:
    """List the named queries, answer one, or open the prompt; return the exit status."""
    options = _parser().parse_args(arguments)

    def ask(query: str, values: Mapping[str, str]) -> Answer:
        files = options.allow_files
        if options.live:
            return run_live_query(query, root=options.root, values=values, allow_files=files)
        index = options.index or options.root / DEFAULT_INDEX
        return run_query(query, index=index, values=values, allow_files=files)

    try:
        if options.prompt:
            Prompt(ask, sys.stdout, form=options.form).run(read_terminal_line)
        elif options.query is None:
            sys.stdout.write(describe_questions(list_questions()))
        else:
            found = ask(options.query, parse_values(options.value))
            write_answer(found, sys.stdout, form=options.form)
        sys.stdout.flush()
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; without this Python complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.store.query",
        description="Answer a named query or SQL text from the index; without one, list the names.",
        epilog="Example: python -m agentic_vlm.store.query calls_by_family --csv",
    )
    parser.add_argument("query", nargs="?", help="name of a query, or SQL")
    for form in FORMS:
        parser.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.set_defaults(form="table")
    parser.add_argument(
        "--value", action="append", default=[], metavar="NAME=VALUE", help="value of $NAME"
    )
    parser.add_argument("--prompt", action="store_true", help="ask one question after the other")
    parser.add_argument(
        "--live", action="store_true", help="read the Parquet parts, those of running stages too"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    parser.add_argument("--index", type=Path, help=f"the DuckDB file; ROOT/{DEFAULT_INDEX}")
    parser.add_argument(
        "--allow-files",
        action="store_true",
        help="let this SQL read and write files, attach databases and load extensions",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
