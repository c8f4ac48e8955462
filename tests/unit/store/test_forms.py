"""Answers as table, CSV and JSON."""

import io
import json

import pytest

from agentic_vlm.store.forms import write_answer
from agentic_vlm.store.questions import Answer

ANSWER = Answer(["n", "name"], [(1, None), (2, "b"), (3, ["x", "y"])])


def written(answer, form):
    stream = io.StringIO()
    write_answer(answer, stream, form=form)
    return stream.getvalue()


def test_csv_holds_lists_as_json():
    assert written(ANSWER, "csv") == 'n,name\n1,\n2,b\n3,"[""x"", ""y""]"\n'


def test_json_is_an_array_of_objects():
    rows = json.loads(written(ANSWER, "json"))
    assert rows == [{"n": 1, "name": None}, {"n": 2, "name": "b"}, {"n": 3, "name": ["x", "y"]}]


def test_json_has_no_infinity():
    answer = Answer(["a"], [(float("nan"),), (float("inf"),), ({"b": float("nan")},)])
    assert json.loads(written(answer, "json")) == [{"a": None}, {"a": None}, {"a": {"b": None}}]


def test_a_table_has_one_line_per_row_and_no_folds():
    answer = Answer(["text", "n"], [("two\nlines [bold]" + "x" * 200, 1)] * 3)
    head, _rule, *rows = written(answer, "table").splitlines()
    assert head.split() == ["text", "n"]
    assert len(rows) == 3
    assert rows[0].strip().startswith("two lines [bold]xx")
    assert rows[0].endswith("...   1")


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_an_answer_without_rows_is_written_too(form):
    assert written(Answer(["a"], []), form).strip()
