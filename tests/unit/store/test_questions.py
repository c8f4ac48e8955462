"""Every named query on a store of a few rows, and questions that cannot be answered."""

import pytest

from agentic_vlm.errors import QueryError
from agentic_vlm.store.query import main, run_query
from agentic_vlm.store.questions import list_questions

SAMPLE = {"sample_id": "s0"}


def ask(index, query, **values):
    return run_query(query, index=index, values=values).rows


def test_every_query_asks_a_question_and_explains_its_values():
    for question in list_questions().values():
        assert question.text.endswith("?"), question.name
        used = {word.rstrip(",;)") for word in question.sql.split() if word.startswith("$")}
        assert {f"${name}" for name in question.parameters} >= {
            word for word in used if not word.endswith(":")
        }, question.name


def test_calls_by_family(index):
    assert ask(index, "calls_by_family") == [("rl", "perception", "python", 2, 0.5, 2.0)]


def test_calls_over_rl_steps(index):
    assert ask(index, "calls_over_rl_steps") == [
        (0, 2, 0.5, 0.5, 1.5, 0.5, 0.0),
        (1, 1, 1.0, 1.0, 0.0, 0.0, 0.0),
    ]


def test_columns(index):
    rows = ask(index, "columns", table="rewards")
    assert rows[1] == ("component", "VARCHAR", "accuracy or format")


def test_cost_by_stage(index):
    rows = {row[0]: row[2:] for row in ask(index, "cost_by_stage")}
    assert rows["train_rl"] == (2.0, 1.0, 4.0, 1.0, 3, 3, 3, 24, 3, 1, 0.4, 0.003, 12.0)
    assert rows["evaluate-rl"] == (*[None] * 6, 1, 12, 2, 0, 0.6, 0.0, None)


def test_cost_by_trajectory_shows_the_dearest_first(index):
    rows = ask(index, "cost_by_trajectory", stage="%")
    assert [row[2] for row in rows[:2]] == ["r1", "e1"]
    assert rows[0][5:] == (3, 13, 2, 1, 1, False, 0.32, 0.003)
    (row,) = ask(index, "cost_by_trajectory", stage="evaluate")
    assert row[:4] == ("evaluate", "rl", "e1", "s9")


def test_work_by_stage(index):
    assert ask(index, "work_by_stage") == [
        ("evaluate-rl", 1, 3, 12, 2, 0, 1, 0),
        ("synthesize", 2, 4, 16, 2, 0, 0, 0),
        ("train_rl", 3, 6, 24, 3, 1, 1, 0),
    ]


def test_failure_classes(index):
    assert ask(index, "failure_classes") == [
        ("evaluate", "rl", "python", "error", "NameError", 1, 0.5),
        ("train_rl", "sft", "python", "error", "NameError", 1, 0.5),
    ]


def test_latency_by_tool(index):
    assert ask(index, "latency_by_tool") == [
        ("python", 4, 0.25, 0.385, 0.397, 0.4, 0.0),
        ("search", 1, 0.02, 0.02, 0.02, 0.02, 0.003),
    ]


def test_latency_by_stage(index):
    assert ask(index, "latency_by_stage") == [
        ("evaluate-rl", "python", 2, 0.3, 0.39, 0.6),
        ("train_rl", "python", 2, 0.2, 0.29, 0.4),
        ("train_rl", "search", 1, 0.02, 0.02, 0.0),
    ]


def test_left_out_by_calls(index):
    assert ask(index, "left_out_by_calls")[0] == ("evaluate", 2, 1, 0, 0.0)


def test_lineage_up_leads_from_a_score_to_source_rows(index):
    rl = "c-rl made by train_rl in 2 steps from 3 trajectories of 1 samples"
    sft = "c-sft made by train_sft in 2 steps from 1 trajectories of 1 samples"
    assert ask(index, "lineage_up", trajectory_id="e1") == [
        (0, "score", "rl/pocket/agent", "correct by rule text"),
        (1, "trajectory", "e1", "evaluate by c-rl correct"),
        (1, "question", "s9", "row test:9 of pocket"),
        (2, "checkpoint", "rl", rl),
        (3, "learned from", "s0", "3 trajectories, 2 correct; row test:0"),
        (3, "learned from", "s0", "3 trajectories, 2 correct; row test:7"),
        (4, "checkpoint", "sft", sft),
        (5, "learned from", "s2", "1 trajectories, 1 correct; row test:2"),
        (6, "checkpoint", "base", "c-base made by build_base in 2 steps"),
    ]


def test_lineage_down_leads_from_a_source_row_to_all_that_it_touched(index):
    assert ask(index, "lineage_down", source="test", row="0") == [
        (0, "sample", "s0", "train perception curated pool rl"),
        (2, "probe", "agent", "1 attempts, 1 correct"),
        (2, "probe", "direct", "1 attempts, 0 correct"),
        (3, "trajectories", "train_rl", "3 by c-sft, 2 correct, 3 calls, 0 selected"),
        (4, "checkpoint", "rl", "learned from 3 of its trajectories"),
    ]


def test_lineage_down_shows_why_a_row_was_left_out(index):
    kinds = [row[1:] for row in ask(index, "lineage_down", source="test", row="1")]
    assert ("rejection", "test:1", "by curate: near_duplicate s0") in kinds
    kinds = [row[1:] for row in ask(index, "lineage_down", source="test", row="2")]
    assert ("rejection", "t2", "by select_sft: not_correct blue") in kinds
    assert ("checkpoint", "sft", "learned from 1 of its trajectories") in kinds


def test_lineage_down_of_a_suite_row_ends_in_scores(index):
    last = ask(index, "lineage_down", source="test", row="9")[-1]
    assert last == (5, "score", "rl/pocket/agent", "correct by rule text")


def test_rejections_by_reason(index):
    assert ask(index, "rejections_by_reason") == [
        ("curate", "exact_duplicate", 1, "test:7"),
        ("curate", "near_duplicate", 1, "test:1"),
        ("select_sft", "not_correct", 1, "t2"),
    ]


def test_samples_of_checkpoint(index):
    assert ask(index, "samples_of_checkpoint", name="rl") == [
        ("s0", "test", "0", "perception", 3, 2),
        ("s0", "test", "7", "perception", 3, 2),
    ]


def test_score_by_family(index):
    rows = ask(index, "score_by_family")
    assert rows == [("rl", "pocket", "agent", "perception", "tool", 1, 1.0, 2.0)]


def test_solved_only_with_tools(index):
    assert ask(index, "solved_only_with_tools") == [
        ("s0", "perception", 0, 1, 1, 1, "rl", "which colour?")
    ]


def test_tables(index):
    names = [row[0] for row in ask(index, "tables")]
    assert names == sorted(names)
    assert {"samples", "checkpoint_samples"} <= set(names)


def test_trajectories_of_sample(index):
    rows = ask(index, "trajectories_of_sample", sample_id="s0")
    assert [(row[0], row[2], row[5], row[7], row[11]) for row in rows] == [
        ("r0", "sft", 0, 1, "correct"),
        ("r1", "sft", 0, 2, "incorrect"),
        ("r2", "sft", 1, 0, "correct"),
    ]


def test_turns_of_trajectory(index):
    rows = ask(index, "turns_of_trajectory", trajectory_id="r1")
    assert [(row[0], row[3], row[4], *row[8:]) for row in rows] == [
        (0, "python", "error", 0.3, 0.0),
        (1, "search", "ok", 0.02, 0.003),
        (2, None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("query", "values", "error"),
    [
        (
            "lineage_dwn",
            {},
            "query 'lineage_dwn': no query of this name; did you mean 'lineage_down'?\n"
            "  fix: `python -m agentic_vlm.store.query` lists the names",
        ),
        (
            "columns",
            {},
            "query 'columns': needs $table: name of a table, such as trajectories\n"
            "  fix: add --value table=...",
        ),
        (
            "tables",
            {"tabel": "a"},
            "query 'tables': has no parameter $tabel\n  fix: its parameters are: none",
        ),
        (
            "selec 1",
            {},
            "query 'selec 1': Parser Error: syntax error at or near \"selec\"\n"
            "  fix: correct the SQL; the queries `tables` and `columns` say what there is",
        ),
        (
            "select answr from samples",
            {},
            "query 'select answr from samples': Binder Error: Referenced column \"answr\" not found"
            ' in FROM clause!; Candidate bindings: "answer"',
        ),
        ("-- nothing", {}, "query '-- nothing': no statement in it"),
        ("", {}, "query '': no query of this name"),
        (
            "delete from samples",
            {},
            "query 'delete from samples': Invalid Input Error: Cannot execute statement of type",
        ),
        ("set threads = 1", {}, "query 'set threads = 1': Invalid Input Error: Cannot change conf"),
    ],
)
def test_a_question_that_cannot_be_answered_says_so_in_two_lines(index, query, values, error):
    with pytest.raises(QueryError) as caught:
        ask(index, query, **values)
    assert str(caught.value).startswith(error)
    assert len(str(caught.value).splitlines()) == 2


def test_values_are_passed_by_name(index):
    sql = "select count(*) from samples where family = $family"
    assert ask(index, sql, family="text") == [(0,)]


def test_a_value_is_data_and_never_sql(index):
    assert ask(index, "trajectories_of_sample", sample_id="' or true --") == []


def test_the_command_lists_the_queries(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert "calls_by_family" in listed
    assert "[$source $row]" in listed


def test_the_command_answers_and_fails_in_two_lines(index, capsys):
    assert main(["rejections_by_reason", "--csv", "--index", str(index)]) == 0
    assert "curate,exact_duplicate,1,test:7" in capsys.readouterr().out
    assert main(["selec 1", "--index", str(index)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert main(["columns", "--value", "table", "--index", str(index)]) == 1
    assert "write it as NAME=VALUE" in capsys.readouterr().err
