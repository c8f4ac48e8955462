"""One question after the other."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_vlm.errors import QueryError
from agentic_vlm.store.prompt import Prompt
from agentic_vlm.store.questions import Answer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def converse():
    """Give a function that types lines and returns what was asked and what was shown."""

    def run(*lines):
        asked, typed, stream = [], iter(lines), io.StringIO()

        def ask(query, values):
            asked.append((query, dict(values)))
            if "wrong" in query:
                raise QueryError("query", "wrong", "think")
            return Answer(["n"], [(1,)])

        def read_line(sign):
            line = next(typed, None)
            if line is None:
                raise EOFError
            if line == "^C":
                raise KeyboardInterrupt
            return line

        Prompt(ask, stream, form="csv").run(read_line)
        return asked, stream.getvalue()

    return run


def test_sql_may_take_several_lines(converse):
    asked, shown = converse("select 1", "from samples;", "")
    assert asked == [("select 1\nfrom samples", {})]
    assert shown.endswith("n\n1\n")


def test_a_query_is_asked_by_name_with_values(converse):
    asked, _ = converse("lineage_down source=test row=0", "tables")
    assert asked == [("lineage_down", {"source": "test", "row": "0"}), ("tables", {})]


def test_an_error_is_shown_and_the_prompt_goes_on(converse):
    asked, shown = converse("wrong;", "lineage_down source", "select 2;")
    assert "query: wrong\n  fix: think\n" in shown
    assert "value 'source': no = in it" in shown
    assert asked[-1] == ("select 2", {})


def test_dot_commands(converse):
    asked, shown = converse(
        ".help",
        ".queries",
        ".tables",
        ".columns turns",
        ".form json",
        "x;",
        ".form xml",
        ".quit",
        "y;",
    )
    assert asked == [("tables", {}), ("columns", {"table": "turns"}), ("x", {})]
    assert "calls_by_family" in shown
    assert '"n": 1' in shown
    assert "no command '.form xml'" in shown


def test_an_interrupt_drops_the_question_that_is_being_typed(converse):
    asked, _ = converse("select wrong", "^C", "select 2;")
    assert asked == [("select 2", {})]


def test_the_last_question_may_lack_its_semicolon(converse):
    assert converse("select 1")[0] == [("select 1", {})]


def test_the_command_reads_questions_from_a_pipe(index):
    command = [sys.executable, "-m", "agentic_vlm.store.query", "--prompt", "--csv"]
    result = subprocess.run(
        [*command, "--index", str(index)],
        input="select count(*) as n\nfrom samples;\ndelete from samples;\nselect 7 as m;\n",
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[1:3] == ["n", "4"]
    assert lines[3].startswith("query 'delete from samples': ")
    assert lines[-2:] == ["m", "7"]


def test_a_closed_standard_input_ends_the_prompt(index):
    script = f"exec {sys.executable} -m agentic_vlm.store.query --prompt --index {index} <&-"
    result = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
