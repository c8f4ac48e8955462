"""Typed Parquet folders."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.schema import CuratedSample, Probe, Rollout, Trajectory
from agentic_vlm.store import read_records, write_records


def by_sample(sample):
    return (sample.sample_id,)


def write_samples(folder, samples):
    return write_records(folder, samples, CuratedSample, key=by_sample)


def test_records_come_back_equal_and_sorted(tmp_path, make_sample, image_ref):
    samples = [make_sample(question=f"q{n}", images=(image_ref,), flags=("a",)) for n in range(9)]
    assert write_samples(tmp_path / "s", samples) == 9
    assert read_records(tmp_path / "s", CuratedSample) == sorted(samples, key=by_sample)


def test_nested_records_come_back_equal(tmp_path, make_trajectory, make_rollout):
    write_records(tmp_path / "t", [make_trajectory()], Trajectory, key=lambda t: (t.sample_id,))
    write_records(tmp_path / "r", [make_rollout(reward=None)], Rollout, key=lambda r: (r.step,))
    assert read_records(tmp_path / "t", Trajectory) == [make_trajectory()]
    assert read_records(tmp_path / "r", Rollout) == [make_rollout(reward=None)]


def test_input_order_never_changes_the_bytes(tmp_path, make_sample):
    samples = [make_sample(question="same", source_row_id=str(n)) for n in range(20)]
    shuffled = random.Random(1).sample(samples, 20)
    write_samples(tmp_path / "a", samples)
    write_samples(tmp_path / "b", shuffled)
    name = "part-00000.parquet"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@settings(max_examples=25, deadline=None)
@given(answer=st.text(), aliases=st.lists(st.text()), difficulty=st.none() | st.integers(0, 3))
def test_any_text_survives_parquet(tmp_path_factory, answer, aliases, difficulty):
    folder = tmp_path_factory.mktemp("samples")
    sample = CuratedSample(
        sample_id="s", source="x", source_row_id="0", split="train", family="text",
        question="q", answer=answer, aliases=tuple(aliases), answer_type="text",
        difficulty=difficulty,
    )  # fmt: skip
    write_samples(folder / "s", [sample])
    assert read_records(folder / "s", CuratedSample) == [sample]


def test_no_records_still_leave_a_readable_folder(tmp_path):
    assert write_samples(tmp_path / "s", []) == 0
    assert read_records(tmp_path / "s", CuratedSample) == []


def test_writing_again_replaces_the_folder_and_leaves_nothing_beside_it(tmp_path, make_sample):
    write_samples(tmp_path / "s", [make_sample(question="old")])
    write_samples(tmp_path / "s", [make_sample(question="new")])
    assert [sample.question for sample in read_records(tmp_path / "s", CuratedSample)] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_failing_write_keeps_the_earlier_folder(tmp_path, make_probe):
    write_records(tmp_path / "p", [make_probe()], Probe, key=lambda p: (p.attempt,))
    with pytest.raises(RecordError, match="field 'attempt'"):
        write_records(tmp_path / "p", [make_probe(attempt=2**70)], Probe, key=lambda p: (0,))
    assert read_records(tmp_path / "p", Probe) == [make_probe()]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_bad_row_is_named_by_file_row_and_field(tmp_path, make_sample):
    write_samples(tmp_path / "s", [make_sample(question=f"q{n}") for n in range(3)])
    path = tmp_path / "s" / "part-00000.parquet"
    table = pq.read_table(path)
    kinds = pa.array(["text", "colour", "text"])
    index = table.schema.get_field_index("answer_type")
    schema = table.schema
    pq.write_table(table.set_column(index, schema.field(index), kinds).cast(schema), path)
    with pytest.raises(RecordError) as caught:
        read_records(tmp_path / "s", CuratedSample)
    assert str(caught.value) == (
        f"{path}, row 1, field 'answer_type': input should be 'choice', 'integer', 'float', "
        f"'text', 'list' or 'math'\n"
        f"  fix: the row is no CuratedSample; rerun the stage that wrote {tmp_path / 's'}"
    )


def test_a_folder_of_other_records_is_refused(tmp_path, make_probe):
    write_records(tmp_path / "p", [make_probe()], Probe, key=lambda p: (p.attempt,))
    with pytest.raises(RecordError, match="holds Probe, not Trajectory"):
        read_records(tmp_path / "p", Trajectory)


def test_a_missing_folder_and_a_damaged_file_are_told_apart(tmp_path):
    with pytest.raises(ArtifactMissing, match="no part-"):
        read_records(tmp_path / "s", Probe)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "part-00000.parquet").write_bytes(b"no parquet")
    with pytest.raises(RecordError, match="the file is damaged"):
        read_records(tmp_path / "s", Probe)
