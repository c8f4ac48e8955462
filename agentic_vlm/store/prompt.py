"""Questions one after the other: SQL that ends with `;`, names of queries, and dot commands."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from agentic_vlm.errors import AgenticError, QueryError
from agentic_vlm.store.forms import FORMS, write_answer
from agentic_vlm.store.questions import Answer, Question, list_questions

Ask = Callable[[str, Mapping[str, str]], Answer]
"""Answers a named query or SQL with the values of its parameters."""

_HELP = """\
SELECT ...;                    SQL; it may take several lines and ends with ;
NAME [PARAMETER=VALUE ...]     a named query
.queries                       the named queries
.tables                        the tables
.columns TABLE                 the columns of a table, and what they mean
.form table|csv|json           form of the answers
.quit                          leave; so does the end of input
"""


class Prompt:
    """Reads questions line by line and writes answers."""

    def __init__(self, ask: Ask, stream: TextIO, *, form: str) -> None:
        """Answer with `ask`, write to `stream` in `form`."""
        self._ask = ask
        self._stream = stream
        self._form = form
        self._waiting: list[str] = []

    def run(self, read_line: Callable[[str], str]) -> None:
        """Answer until the input ends or `.quit` comes.

        Args:
            read_line: takes the prompt sign and gives a line; raises EOFError at the end, and
                KeyboardInterrupt to drop the question that is being typed or answered.
        """
        self._say("SQL ends with ; and .help says more\n")
        while True:
            try:
                line = read_line("... " if self._waiting else "sql> ")
                if not self._take(line.strip()):
                    return
            except EOFError:
                return self._finish()
            except KeyboardInterrupt:
                self._waiting.clear()
                self._say("\n")

    def _finish(self) -> None:
        """Answer a last question that lacks its `;`."""
        if self._waiting:
            self._take(";")

    def _take(self, line: str) -> bool:
        """Answer a line or keep it for later; return whether to go on."""
        if not self._waiting and line.startswith("."):
            return self._command(line.split())
        words = line.split()
        if not self._waiting and words and words[0] in list_questions():
            self._answer_named(words[0], words[1:])
        elif line or self._waiting:
            self._waiting.append(line)
            if line.endswith(";"):
                sql = "\n".join(self._waiting)
                self._waiting.clear()
                self._answer(sql.rstrip("; \n"), {})
        return True

    def _command(self, words: Sequence[str]) -> bool:
        match words:
            case [".quit" | ".exit"]:
                return False
            case [".help"]:
                self._say(_HELP)
            case [".queries"]:
                self._say(describe_questions(list_questions()))
            case [".tables"]:
                self._answer("tables", {})
            case [".columns", table]:
                self._answer("columns", {"table": table})
            case [".form", form] if form in FORMS:
                self._form = form
            case _:
                self._say(f"no command {' '.join(words)!r}\n  fix: .help lists the commands\n")
        return True

    def _answer_named(self, name: str, words: Sequence[str]) -> None:
        try:
            values = parse_values([word.rstrip(";") for word in words])
        except QueryError as error:
            self._say(f"{error}\n")
        else:
            self._answer(name.rstrip(";"), values)

    def _answer(self, query: str, values: Mapping[str, str]) -> None:
        try:
            write_answer(self._ask(query, values), self._stream, form=self._form)
        except AgenticError as error:
            self._say(f"{error}\n")
        self._stream.flush()

    def _say(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def read_terminal_line(sign: str) -> str:
    """Read a line, with history and cursor keys where there is a terminal."""
    # Python has no standard input where the caller has closed it.
    if sys.stdin is None or not sys.stdin.isatty():
        line = sys.stdin.readline() if sys.stdin is not None else ""
        if not line:
            raise EOFError
        return line
    # Importing it is what gives `input` a history.
    import readline  # noqa: F401

    return input(sign)


def parse_values(pairs: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUE pairs.

    Raises:
        QueryError: a pair has no `=`.
    """
    bad = next((pair for pair in pairs if "=" not in pair), None)
    if bad is not None:
        raise QueryError(f"value {bad!r}", "no = in it", "write it as NAME=VALUE, without $")
    return dict(pair.split("=", 1) for pair in pairs)


def describe_questions(questions: Mapping[str, Question]) -> str:
    """Return one line per named query: its name, its question, its parameters."""
    width = max(len(name) for name in questions)
    lines = []
    for question in questions.values():
        values = "".join(f" ${name}" for name in question.parameters)
        lines.append(
            f"{question.name:{width}}  {question.text}{f' [{values[1:]}]' if values else ''}"
        )
    return "\n".join(lines) + "\n"
