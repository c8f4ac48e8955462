"""Planted duplicates, contaminations and damage: found, and nothing else."""

import importlib.util
import json
import struct
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.intake import iter_file_source
from agentic_vlm.curation.pictures import view_picture
from agentic_vlm.params import CurateParams, FileSource
from agentic_vlm.schema import RawSample, Rejection, RejectReason
from agentic_vlm.store import ImageWriter

PLANTING = Path(__file__).parents[3] / "benchmarks" / "planting.py"


@pytest.fixture
def planting():
    spec = importlib.util.spec_from_file_location("planting", PLANTING)
    module = importlib.util.module_from_spec(spec)
    sys.modules["planting"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["planting"]


@pytest.mark.slow
def test_planted_rows_are_found_and_nothing_else(planting):
    field = planting.plant(700, num_pictures=60, scale=0.15)
    params = CurateParams()
    views = {name: view_picture(picture) for name, picture in field.pictures.items()}
    suite = SuiteFilter(field.suite, views, params=params)
    duplicates = DuplicateFilter(views, params=params)
    found = {RejectReason.CONTAMINATED: set(), "duplicate": set()}
    for row in field.rows:
        rejection = suite.check(row) or duplicates.check(row)
        if rejection is not None:
            is_suite = rejection.reason is RejectReason.CONTAMINATED
            kind = RejectReason.CONTAMINATED if is_suite else "duplicate"
            found[kind].add(row.source_row_id)
    missed = (field.duplicates - found["duplicate"]) | (
        field.contaminated - found[RejectReason.CONTAMINATED]
    )
    false = (found["duplicate"] - field.duplicates) | (
        found[RejectReason.CONTAMINATED] - field.contaminated
    )
    assert len(missed) <= 0.01 * (len(field.duplicates) + len(field.contaminated)), missed
    assert len(false) <= 0.005 * len(field.rows), false


def huge_png():
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def picture(make_image, tmp_path):
    make_image(size=(64, 64)).save(tmp_path / "good.jpg")
    return (tmp_path / "good.jpg").read_bytes()


def take(folder, source):
    images = ImageWriter(folder / "images")
    return list(iter_file_source(source, root=folder, images=images))


def test_every_planted_damage_is_named_by_row_and_field(tmp_path, picture):
    good = {"id": "g", "question": "q?", "answer": "a", "image": {"bytes": picture}}
    damages = [
        ({"image": {"bytes": picture[: len(picture) // 2]}}, "image"),
        ({"image": {"bytes": huge_png()}}, "image"),
        ({"image": {"bytes": b""}}, "image"),
        ({"id": "g"}, "id"),
        ({"question": "x" * 40_000_000}, "question"),
        ({"answer": None}, "answer"),
        ({"question": "  "}, "question"),
    ]
    rows = [good, *({**good, "id": str(at), **change} for at, (change, _) in enumerate(damages))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    first, *others = take(tmp_path, FileSource(type="parquet", name="p", path="rows.parquet"))
    assert isinstance(first, RawSample)
    assert all(isinstance(row, Rejection) for row in others)
    for number, (row, (_, field)) in enumerate(zip(others, damages, strict=True), start=2):
        assert row.evidence.startswith(f"rows.parquet, row {number}, field '{field}': ")


def test_a_nan_answer_wrong_base64_and_a_missing_column_are_named(tmp_path, picture):
    table = pa.Table.from_pylist([{"question": "q?", "answer": float("nan")}])
    pq.write_table(table, tmp_path / "nan.parquet")
    (nan,) = take(tmp_path, FileSource(type="parquet", name="p", path="nan.parquet"))
    assert nan.evidence.startswith("nan.parquet, row 1, field 'answer': nan is no text")
    rows = [{"question": "q?", "answer": "a", "image": "!" * 200}, {"question": "q?"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bad, missing = take(tmp_path, FileSource(type="json_lines", name="j", path="rows.jsonl"))
    assert bad.evidence.startswith("rows.jsonl, row 1, field 'image': no base64")
    assert missing.evidence == "rows.jsonl, row 2, field 'answer': field required"
