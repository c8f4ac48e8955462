"""Resumable parts."""

import pytest

from agentic_vlm.params import CurateParams
from agentic_vlm.schema import Probe
from agentic_vlm.store import Parts, fingerprint


@pytest.fixture
def open_parts(tmp_path):
    return lambda: Parts(tmp_path / "parts", Probe, row_id=lambda probe: probe.sample_id)


def test_rows_survive_reopening_in_the_order_of_appending(open_parts, make_probe):
    rows = [make_probe(sample_id=name) for name in "cab"]
    open_parts().append(rows[:2])
    parts = open_parts()
    parts.append(rows[2:])
    assert list(open_parts()) == rows
    assert parts.finished_ids() == {"a", "b", "c"}


def test_a_part_that_a_crash_cut_short_is_forgotten(open_parts, make_probe):
    parts = open_parts()
    parts.append([make_probe()])
    (parts.folder / "part-000001.tmp").write_bytes(b"half")
    assert open_parts().finished_ids() == {"s0"}
    assert [path.name for path in parts.folder.iterdir()] == ["part-000000.parquet"]


def test_the_fingerprint_follows_content_and_not_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows").write_text("1")
    same = fingerprint(tmp_path / "a"), fingerprint(tmp_path / "b")
    (tmp_path / "b" / "rows").write_text("2")
    assert same[0] == same[1] != fingerprint(tmp_path / "b")


def test_the_fingerprint_follows_params():
    assert fingerprint(CurateParams()) != fingerprint(CurateParams(ngram=5))


def test_the_fingerprint_keeps_its_inputs_apart():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
