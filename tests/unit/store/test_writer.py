"""RecordWriter: the bytes of write_records, with few rows in memory."""

import random

import pyarrow as pa
import pytest

from agentic_vlm.schema import CuratedSample
from agentic_vlm.store import RecordWriter, write_records


def key(sample):
    return (sample.sample_id,)


@pytest.mark.parametrize("num_rows", [0, 1, 7, 30])
def test_runs_are_merged_into_the_bytes_of_write_records(tmp_path, make_sample, num_rows):
    samples = [
        make_sample(sample_id=f"s{number % 11}", source_row_id=str(number))
        for number in range(num_rows)
    ]
    random.Random(3).shuffle(samples)
    write_records(tmp_path / "a", samples, CuratedSample, key=key)
    with RecordWriter(tmp_path / "b", CuratedSample, key=key, rows_per_run=4) as writer:
        for sample in samples:
            writer.add(sample)
    assert writer.num_rows == num_rows
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}


def test_rows_of_several_files_are_those_of_write_records(tmp_path, make_sample, monkeypatch):
    for module in ("datasets", "writer"):
        monkeypatch.setattr(f"agentic_vlm.store.{module}.ROWS_PER_PART", 4)
    samples = [make_sample(sample_id=f"s{number}") for number in range(8)]
    write_records(tmp_path / "a", samples, CuratedSample, key=key)
    with RecordWriter(tmp_path / "b", CuratedSample, key=key, rows_per_run=3) as writer:
        for sample in reversed(samples):
            writer.add(sample)
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert len(files) == 2
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}


def test_a_block_that_fails_leaves_the_old_folder(tmp_path, make_sample):
    write_records(tmp_path / "a", [make_sample()], CuratedSample, key=key)
    before = [path.read_bytes() for path in (tmp_path / "a").iterdir()]

    def fail():
        with RecordWriter(tmp_path / "a", CuratedSample, key=key, rows_per_run=1) as writer:
            writer.add(make_sample(sample_id="other"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.read_bytes() for path in (tmp_path / "a").iterdir()] == before


def test_a_merge_holds_few_rows_of_each_run(tmp_path, make_sample):
    question = "".join(random.Random(1).choices("abcdefgh", k=2000))
    num_runs, rows_per_run, held = 6, 256, []

    def watched_key(sample):
        held.append(pa.total_allocated_bytes())
        return (sample.sample_id,)

    writer = RecordWriter(tmp_path / "a", CuratedSample, key=watched_key, rows_per_run=rows_per_run)
    sample = make_sample(question=question)
    with writer:
        for number in range(num_runs * rows_per_run):
            # Every run has rows from all over the order, so that all runs are open at once.
            name = f"s{number % rows_per_run:06d}-{number // rows_per_run}"
            writer.add(sample.model_copy(update={"sample_id": name}))
        held.clear()
    assert max(held) - min(held) < num_runs * rows_per_run * len(question) / 2
