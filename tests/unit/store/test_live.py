"""Questions to the parts on disk, while stages run."""

import os
import shutil

import pytest

from agentic_vlm.errors import ArtifactMissing, QueryError
from agentic_vlm.schema import Rollout, Trajectory
from agentic_vlm.store import Parts
from agentic_vlm.store.database import open_index, open_parts
from agentic_vlm.store.query import main, run_live_query, run_query
from agentic_vlm.store.questions import answer, list_questions

COLUMNS = """
    select table_name, column_name, data_type, comment from duckdb_columns()
    where not internal and table_name not like 'source\\_%' escape '\\' order by all
"""
VALUES = {
    "cost_by_trajectory": {"stage": "%"},
    "columns": {"table": "samples"},
    "lineage_down": {"source": "test", "row": "0"},
    "lineage_up": {"trajectory_id": "e1"},
    "samples_of_checkpoint": {"name": "rl"},
    "trajectories_of_sample": {"sample_id": "s0"},
    "turns_of_trajectory": {"trajectory_id": "r1"},
}

EMPTY = {"score_differences", "score_by_ability"}
"""Questions about two models and about abilities: the tables here hold one score without a flag."""


def count(root, sql):
    return run_live_query(f"select count(*) from {sql}", root=root).rows[0][0]


@pytest.fixture
def rollout_parts(root):
    folder = root / ".scratch/train_rl/0123/rollouts"
    return Parts(folder, Rollout, row_id=lambda row: row.trajectory.trajectory_id)


def test_live_tables_have_the_columns_types_and_comments_of_the_index(root, index):
    live = run_live_query(COLUMNS, root=root).rows
    assert live == run_query(COLUMNS, index=index).rows
    assert len(live) > 100


def test_live_answers_are_those_of_the_index(root, index):
    with open_parts(root) as live, open_index(index) as built:
        for name in sorted(set(list_questions()) - {"tables"}):
            values = VALUES.get(name, {})
            assert answer(live, name, values) == answer(built, name, values), name
            assert answer(built, name, values).rows or name in EMPTY, name


def test_rows_of_a_running_stage_are_seen_as_soon_as_they_are_appended(
    root, rollout_parts, make_rollout, make_trajectory
):
    for number in range(2):
        episode = make_trajectory(trajectory_id=f"new{number}", stage="train_rl")
        rollout_parts.append([make_rollout(trajectory=episode, step=7)])
        assert count(root, "rollout_steps where step = 7") == number + 1
    assert count(root, "tool_calls where trajectory_id like 'new%'") == 2


def test_the_output_of_an_earlier_run_is_left_out_while_its_stage_runs(
    root, rollout_parts, make_rollout
):
    assert count(root, "rollout_steps") == 3
    rollout_parts.append([make_rollout()])
    assert count(root, "rollout_steps") == 1
    assert count(root, "trajectories where stage = 'synthesize'") == 2


def test_only_the_scores_of_the_model_that_is_evaluated_are_left_out(root, make_trajectory):
    shutil.copytree(root / "data/scores/rl/scores", root / "data/scores/sft/other")
    folder = root / ".scratch/evaluate-sft/0123/parts"
    parts = Parts(folder, Trajectory, row_id=lambda row: row.trajectory_id)
    parts.append([make_trajectory(trajectory_id="e2", stage="evaluate")])
    assert count(root, "evaluations") == 1
    assert count(root, "trajectories where stage = 'evaluate'") == 2


def test_a_part_that_is_being_written_is_not_read(root, rollout_parts, make_rollout):
    rollout_parts.append([make_rollout()])
    (rollout_parts.folder / "part-000001.tmp").write_bytes(b"half")
    assert count(root, "rollout_steps") == 1


def test_of_several_scratch_folders_the_newest_counts(root, rollout_parts, make_rollout):
    rollout_parts.append([make_rollout()])
    newer = Parts(root / ".scratch/train_rl/0456/rollouts", Rollout, row_id=lambda row: "")
    newer.append([make_rollout(step=5)])
    os.utime(root / ".scratch/train_rl/0123", ns=(0, 0))
    assert run_live_query("select step from rollout_steps", root=root).rows == [(5,)]


def test_a_live_question_changes_nothing_on_disk(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    part = root / "data/probes/records/part-00000.parquet"
    for sql in (f"copy (select 1) to '{part}'", f"select * from read_parquet('{part}')"):
        with pytest.raises(QueryError, match="file system operations are disabled"):
            run_live_query(sql, root=root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_parts_that_vanish_after_they_were_listed_are_an_error_in_two_lines(root):
    (root / "data/probes/records/part-00009.parquet").symlink_to(root / "gone")
    with pytest.raises(QueryError, match="are gone before they can be opened"):
        run_live_query("tables", root=root)


def test_a_folder_without_a_project_is_named(tmp_path):
    with pytest.raises(ArtifactMissing, match="--root FOLDER"):
        run_live_query("tables", root=tmp_path)


def test_the_command_asks_live(root, capsys):
    assert main(["select count(*) as n from probes", "--live", "--root", str(root), "--csv"]) == 0
    assert capsys.readouterr().out == "n\n5\n"
