"""The index can only be read, and says in two lines why it cannot be."""

import subprocess
import sys

import duckdb
import pytest

from agentic_vlm.errors import ArtifactMissing, QueryError
from agentic_vlm.store.query import main, run_query

HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_missing_index_says_how_to_make_it(tmp_path):
    with pytest.raises(ArtifactMissing, match=r"python -m stages\.index"):
        run_query("select 1", index=tmp_path / "none.duckdb")


def test_a_locked_index_names_who_holds_it(index, capsys):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(index)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == "open\n"
        assert main(["tables", "--index", str(index)]) == 1
        error = capsys.readouterr().err
        holder.stdin.close()
    first, second = error.splitlines()
    assert first.startswith(f"{index}: a program has it open for writing: ")
    assert f"PID {holder.pid}" in first
    assert second == "  fix: close that program; the index is for reading: open it with read_only"


def test_an_index_that_this_process_writes_is_locked_too(index):
    with duckdb.connect(str(index)), pytest.raises(QueryError, match="open for writing"):
        run_query("tables", index=index)


def test_many_read_at_once(index):
    with duckdb.connect(str(index), read_only=True):
        assert run_query("select 1", index=index).rows == [(1,)]


def test_a_foreign_schema_version_is_named(index):
    with duckdb.connect(str(index)) as connection:
        connection.execute("update schema_version set version = 99")
    with pytest.raises(QueryError) as caught:
        run_query("tables", index=index)
    assert str(caught.value).splitlines() == [
        f"{index}: schema version 99, but this code reads 1",
        "  fix: run `python -m stages.index`; it writes the file anew",
    ]


def test_a_database_of_others_is_no_index(tmp_path):
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table rows (a integer)")
    with pytest.raises(QueryError, match="no index of this project"):
        run_query("tables", index=path)


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_file_that_is_no_database_is_named(tmp_path, content):
    path = tmp_path / "index.duckdb"
    path.write_bytes(content)
    with pytest.raises(QueryError, match="index"):
        run_query("tables", index=path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "sql",
    [
        "delete from samples",
        "insert into schema_version values (2)",
        "update samples set answer = 'blue'",
        "drop table samples",
        "create table mine (a integer)",
        "alter table samples add column a integer",
        "copy samples to '{out}'",
        "export database '{out}'",
        "attach '{out}' as other",
        "select * from read_text('{secret}')",
        "select * from read_csv('{secret}')",
        "select * from '{secret}'",
        "select * from glob('/*')",
        "install fts",
        "load fts",
        "load '{out}'",
        "set enable_external_access = true",
        "reset lock_configuration",
        "set python_enable_replacements = true",
        "pragma enable_profiling = 'json'",
        "set temp_directory = '{out}'",
        "create persistent secret mine (type s3)",
        "select * from a_variable_of_this_process",
        "select 1; delete from samples",
        "explain analyze delete from samples",
        "prepare wipe as delete from samples; execute wipe",
    ],
)
def test_a_question_changes_nothing_and_reaches_nothing_else(index, tmp_path, sql):
    a_variable_of_this_process = duckdb.sql("select 1")  # noqa: F841
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("secret\n1\n")
    before = index.read_bytes()
    with pytest.raises(QueryError):
        run_query(sql.format(out=out, secret=secret), index=index)
    assert index.read_bytes() == before
    assert not out.exists()


def test_files_are_open_to_those_who_ask_for_it(index, tmp_path):
    out = tmp_path / "out.csv"
    run_query(f"copy samples to '{out}'", index=index, allow_files=True)
    assert len(out.read_text().splitlines()) == 5
    assert main([f"select * from read_csv('{out}')", "--index", str(index)]) == 1
    assert main([f"from read_csv('{out}')", "--index", str(index), "--allow-files"]) == 0


def test_the_index_stays_read_only_with_files_open(index):
    with pytest.raises(QueryError, match="read-only"):
        run_query("delete from samples", index=index, allow_files=True)
