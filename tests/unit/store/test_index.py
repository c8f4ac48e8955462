"""The tables of the index: every record reaches them, each key once."""

import duckdb
import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.schema import (
    CuratedSample,
    Probe,
    RawSample,
    Rejection,
    Rollout,
    ScoredAnswer,
    Trajectory,
)
from agentic_vlm.store import read_records, write_records
from agentic_vlm.store.index import build_index
from agentic_vlm.store.query import run_query
from agentic_vlm.store.sources import RECORD_TYPES


def ask(index, sql):
    return run_query(sql, index=index).rows


def test_every_record_type_reaches_its_table(root):
    counts = build_index(root, root / "data/trajectories.duckdb")
    assert counts == {
        "call_timings": 5,
        "checkpoint_samples": 2,
        "checkpoints": 3,
        "evaluations": 1,
        "images": 1,
        "probes": 5,
        "rejections": 3,
        "rewards": 6,
        "rollout_steps": 3,
        "runs": 1,
        "samples": 4,
        "schema_version": 1,
        "source_rows": 5,
        "timings": 2,
        "tool_calls": 7,
        "trajectories": 6,
        "turns": 13,
    }


def test_an_empty_project_gives_empty_tables(tmp_path):
    counts = build_index(tmp_path, tmp_path / "data/trajectories.duckdb")
    assert sum(counts.values()) == counts["schema_version"] == 1


def test_a_sample_shows_the_furthest_place_that_it_came_to(index):
    sql = "select sample_id, is_curated, pool, source_row_id from samples order by sample_id"
    assert ask(index, sql) == [
        ("s0", True, "rl", "0"),
        ("s1", False, None, "1"),
        ("s2", True, "sft", "2"),
        ("s9", False, None, "9"),
    ]


def test_an_exact_duplicate_is_one_sample_of_two_source_rows(index):
    sql = "select source_row_id from source_rows where sample_id = 's0' order by all"
    assert ask(index, sql) == [("0",), ("7",)]


def test_selected_trajectories_are_marked_and_stand_once(index):
    sql = (
        "select trajectory_id, is_selected from trajectories where stage = 'synthesize' order by 1"
    )
    assert ask(index, sql) == [("t1", True), ("t2", False)]


def test_calls_turns_and_tokens_of_an_episode_are_counted(index):
    sql = """
        select num_turns, num_calls, num_failed_calls, num_tokens
        from trajectories where trajectory_id = 'r1'
    """
    assert ask(index, sql) == [(3, 2, 1, 13)]


def test_counts_in_sql_are_those_of_the_records(root, index):
    rows = read_records(root / "data/rollouts/records", Rollout)
    sql = """
        select trajectory_id, num_calls, num_failed_calls, num_tokens, num_prompt_tokens,
            num_completion_tokens, num_trained_tokens
        from trajectories join rollout_steps using (trajectory_id) order by trajectory_id
    """
    expected = sorted(
        (
            row.trajectory.trajectory_id,
            row.trajectory.num_calls,
            row.trajectory.num_failed_calls,
            row.trajectory.num_tokens,
            len(row.prompt_ids),
            len(row.completion_ids),
            sum(row.loss_mask),
        )
        for row in rows
    )
    assert ask(index, sql) == expected


def test_a_call_shows_what_became_of_it(index):
    sql = "select * from tool_calls where trajectory_id = 'r1' order by turn"
    assert ask(index, sql) == [
        ("r1", 0, "python", "crap()", "", "error", "NameError", 0, 15, 0),
        ("r1", 1, "search", "", '{"query": "crest"}', "ok", "", 0, 6, 0),
    ]


def test_the_last_turn_has_no_observation_and_an_empty_list_of_pictures(index):
    sql = """
        select observation, observation_status, image_sha256
        from turns where action <> 'tool_call'
    """
    assert set(map(str, ask(index, sql))) == {"(None, None, [])"}


def test_odd_signs_survive_the_way_through_json(tmp_path, make_trajectory):
    odd = 'tab\t quote" back\\slash \u2028 \x00 \U0001f600 {"a": [1]}'
    turn = make_trajectory().turns[0].model_copy(update={"text": odd})
    rows = [make_trajectory(turns=(turn,))]
    write_records(tmp_path / "data/probes/trajectories", rows, Trajectory, key=lambda row: ())
    build_index(tmp_path, tmp_path / "i.duckdb")
    assert ask(tmp_path / "i.duckdb", "select text from turns") == [(odd,)]


def test_an_episode_that_never_began_has_no_turns(tmp_path, make_trajectory):
    rows = [make_trajectory(turns=(), stop_reason="infrastructure", verdict=None, answer=None)]
    write_records(tmp_path / "data/probes/trajectories", rows, Trajectory, key=lambda row: ())
    build_index(tmp_path, tmp_path / "i.duckdb")
    sql = "select num_turns, num_calls, num_failed_calls, num_tokens, verdict from trajectories"
    assert ask(tmp_path / "i.duckdb", sql) == [(0, 0, 0, 0, None)]


def test_one_can_join_from_a_call_to_sample_and_score(index):
    sql = """
        select samples.answer, evaluations.verdict, tool_calls.status
        from tool_calls
        join trajectories using (trajectory_id)
        join samples using (sample_id)
        join evaluations using (trajectory_id)
        order by tool_calls.turn
    """
    assert ask(index, sql) == [("red", "correct", "error"), ("red", "correct", "ok")]


def test_every_table_and_column_is_commented(index):
    with duckdb.connect(str(index), read_only=True) as connection:
        bare = connection.execute(
            "select table_name from duckdb_tables() where comment is null union all "
            "select table_name || '.' || column_name from duckdb_columns() "
            "where comment is null and not internal"
        ).fetchall()
    assert bare == []


def test_every_table_but_two_has_a_key(index):
    sql = """
        select table_name from duckdb_tables()
        where table_name not in (
            select table_name from duckdb_constraints() where constraint_type = 'PRIMARY KEY'
        )
        order by table_name
    """
    assert ask(index, sql) == [("rejections",), ("schema_version",)]


def test_the_file_opens_in_duckdb_1_5(index):
    with duckdb.connect() as connection:
        connection.execute(f"attach '{index}' as built (read_only)")
        tags = connection.execute(
            "select tags from duckdb_databases() where database_name = 'built'"
        ).fetchone()
    assert tags[0]["storage_version"].startswith("v1.5.0")


def test_building_again_replaces_the_file_and_leaves_nothing_beside_it(root, index):
    build_index(root, index)
    assert [path.name for path in index.parent.glob("*.duckdb*")] == ["trajectories.duckdb"]


def test_a_draft_of_a_killed_stage_is_not_read(root, index):
    draft = root / "data/probes/records.tmp-123"
    draft.mkdir()
    (root / "data/probes/records/part-00000.parquet").rename(draft / "part-00000.parquet")
    assert build_index(root, index)["probes"] == 0


def test_seconds_come_from_the_timings_of_the_runs(index):
    sql = """
        select step, seconds, runs.started_at::varchar
        from timings join runs using (run) order by step
    """
    start = "2026-01-01 00:00:00"
    assert ask(index, sql) == [("total", 2.0, start), ("train", 1.5, start)]


def test_a_key_that_stands_twice_is_named_and_the_old_index_stays(root, index, make_probe):
    before = index.read_bytes()
    write_records(root / "data/other", [make_probe()], Probe, key=lambda row: ())
    with pytest.raises(RecordError, match=r"table probes: .*duplicate key"):
        build_index(root, index)
    assert index.read_bytes() == before


def test_a_damaged_card_is_named(root, index):
    (root / "models/rl/card.json").write_text('{"checkpoint_id": 1}')
    with pytest.raises(RecordError, match=r"models/rl/card\.json, field 'checkpoint_id'"):
        build_index(root, index)


def test_damaged_timings_are_named(root, index):
    (root / "metrics/timings.json").write_text("{")
    with pytest.raises(RecordError, match=r"timings\.json: no JSON"):
        build_index(root, index)


def test_record_types_of_the_index_are_all_that_stages_write():
    kinds = (RawSample, CuratedSample, Probe, Trajectory, Rollout, ScoredAnswer, Rejection)
    assert set(RECORD_TYPES.values()) == set(kinds)
