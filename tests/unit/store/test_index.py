"""The SQL index and its named queries, on a store of a few rows."""

import io
import json

import duckdb
import pytest

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.schema import (
    CuratedSample,
    Observation,
    ObservationStatus,
    Probe,
    RawSample,
    Rejection,
    Rollout,
    ScoredAnswer,
    Trajectory,
)
from agentic_vlm.store import ImageWriter, write_records
from agentic_vlm.store.index import build_index
from agentic_vlm.store.query import list_queries, main, run_query, write_answer


def write(root, folder, records):
    kind = type(records[0])
    write_records(root / folder, records, kind, key=lambda record: (record.model_dump_json(),))


@pytest.fixture
def root(tmp_path, make_sample, make_trajectory, make_rollout, make_probe, make_score, make_image):
    with ImageWriter(tmp_path / "data/raw/images") as images:
        ref = images.add(make_image())
    samples = [make_sample(sample_id=f"s{n}", images=(ref,)) for n in range(2)]
    raw = [RawSample.model_validate(sample.model_dump()) for sample in samples]
    write(tmp_path, "data/raw/records", raw)
    write(tmp_path, "data/curated/records", samples[:1])
    write(tmp_path, "data/pools/rl/records", samples[:1])
    write(
        tmp_path,
        "data/curated/rejections",
        [Rejection(stage="curate", row_id="s1", reason="exact_duplicate", evidence="s0")],
    )
    write(
        tmp_path,
        "data/probes/records",
        [make_probe(), make_probe(mode="agent", verdict="correct", num_calls=1)],
    )
    taught = [make_trajectory(trajectory_id="t1"), make_trajectory(trajectory_id="t2")]
    write(tmp_path, "data/trajectories/records", taught)
    write(tmp_path, "data/sft/records", taught[:1])
    write(tmp_path, "data/rollouts/records", [make_rollout()])
    scored = make_trajectory(trajectory_id="t0", stage="evaluate")
    call = scored.turns[0].model_copy(
        update={"observation": Observation(text="no", status=ObservationStatus.ERROR)}
    )
    scored = scored.model_copy(update={"turns": (call, scored.turns[1])})
    write(tmp_path, "data/scores/base/trajectories", [scored])
    write(tmp_path, "data/scores/base/scores", [make_score()])
    return tmp_path


@pytest.fixture
def index(root):
    build_index(root, root / "data/trajectories.duckdb")
    return root / "data/trajectories.duckdb"


def test_every_record_type_reaches_its_table(root):
    counts = build_index(root, root / "data/trajectories.duckdb")
    assert counts == {
        "evaluations": 1,
        "images": 1,
        "probes": 2,
        "rejections": 1,
        "rewards": 2,
        "rollout_steps": 1,
        "runs": 0,
        "samples": 2,
        "schema_version": 1,
        "timings": 0,
        "tool_calls": 4,
        "trajectories": 4,
        "turns": 8,
    }


def test_an_empty_project_gives_empty_tables(tmp_path):
    counts = build_index(tmp_path, tmp_path / "data/trajectories.duckdb")
    assert sum(counts.values()) == counts["schema_version"] == 1


def test_a_sample_shows_the_furthest_place_that_it_came_to(index):
    sql = "select sample_id, is_curated, pool from samples order by sample_id"
    assert run_query(sql, index=index).rows == [("s0", True, "rl"), ("s1", False, None)]


def test_selected_trajectories_are_marked(index):
    sql = "select trajectory_id from trajectories where is_selected"
    assert run_query(sql, index=index).rows == [("t1",)]


def test_one_can_join_from_a_call_to_sample_and_score(index):
    sql = """
        select samples.answer, evaluations.verdict, tool_calls.status
        from tool_calls
        join trajectories using (trajectory_id)
        join samples using (sample_id)
        join evaluations using (trajectory_id)
    """
    assert run_query(sql, index=index).rows == [("red", "correct", "error")]


def test_every_table_and_column_is_commented(index):
    with duckdb.connect(str(index), read_only=True) as connection:
        bare = connection.execute(
            "select table_name from duckdb_tables() where comment is null union all "
            "select table_name || '.' || column_name from duckdb_columns() "
            "where comment is null and not internal"
        ).fetchall()
    assert bare == []


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


def test_seconds_come_from_the_timings_of_the_runs(root):
    (root / "metrics").mkdir()
    run = {
        "run_id": "probe@1", "started_at": "2026-01-01T00:00:00+00:00", "wall_s": 2.0,
        "cpu_s": 1.0, "peak_memory_mb": 1.0, "num_in": 1, "num_out": 1, "seed": 0,
        "params_digest": "", "git_revision": "", "host": "", "steps": {"sample": 1.5},
    }  # fmt: skip
    (root / "metrics/timings.json").write_text(json.dumps({"probe": run}))
    build_index(root, root / "data/trajectories.duckdb")
    sql = "select step, seconds from timings order by step"
    index = root / "data/trajectories.duckdb"
    assert run_query(sql, index=index).rows == [("sample", 1.5), ("total", 2.0)]


@pytest.mark.parametrize("name", sorted(list_queries()))
def test_every_named_query_asks_a_question_and_answers_it(index, name):
    assert list_queries()[name].endswith("?")
    answer = run_query(name, index=index)
    assert answer.columns
    assert answer.rows


def test_calls_by_family_counts_failures(index):
    rows = run_query("calls_by_family", index=index).rows
    assert rows == [("base", "perception", "python", 1, 1.0, 1.0)]


def test_solved_only_with_tools_needs_a_right_agent_attempt(index):
    answer = run_query("solved_only_with_tools", index=index)
    assert [row[0] for row in answer.rows] == ["s0"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("csv", "n,name\n1,\n2,b\n"),
        ("json", '[\n  {\n    "n": 1,\n    "name": null\n  }'),
        ("table", " 1 "),
    ],
)
def test_answers_are_written_in_three_forms(index, form, text):
    sql = "select * from (values (1, null), (2, 'b')) as rows (n, name) order by n"
    stream = io.StringIO()
    write_answer(run_query(sql, index=index), stream, form=form)
    assert text in stream.getvalue()


def test_values_are_passed_by_name(index):
    sql = "select count(*) from samples where family = $family"
    assert run_query(sql, index=index, values={"family": "text"}).rows == [(0,)]


def test_a_question_cannot_change_the_index(index):
    with pytest.raises(RecordError, match="read-only"):
        run_query("delete from samples", index=index)


def test_a_missing_index_says_how_to_make_it(tmp_path):
    with pytest.raises(ArtifactMissing, match=r"python -m stages\.index"):
        run_query("select 1", index=tmp_path / "none.duckdb")


def test_the_command_lists_the_queries(capsys):
    assert main([]) == 0
    assert "calls_by_family" in capsys.readouterr().out


def test_the_command_answers_and_fails_in_two_lines(index, capsys):
    assert main(["rejections_by_reason", "--csv", "--index", str(index)]) == 0
    assert "curate,exact_duplicate,1,s1" in capsys.readouterr().out
    assert main(["selec 1", "--index", str(index)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_record_types_of_the_index_are_all_that_stages_write():
    kinds = (RawSample, CuratedSample, Probe, Trajectory, Rollout, ScoredAnswer, Rejection)
    from agentic_vlm.store.flatten import RECORD_TYPES

    assert set(RECORD_TYPES.values()) == set(kinds)
