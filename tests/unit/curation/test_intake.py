import json

import pytest

from agentic_vlm.curation.intake import iter_jsonl_source
from agentic_vlm.params import JsonlSource
from agentic_vlm.schema import RawSample, Rejection, RejectReason
from agentic_vlm.store import ImageWriter

SOURCE = JsonlSource(name="mine", path="rows.jsonl", images="pictures")


@pytest.fixture
def take(tmp_path, make_image):
    (tmp_path / "pictures").mkdir()
    make_image().save(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")

    def run(*rows, source=SOURCE):
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        (tmp_path / "rows.jsonl").write_text(text)
        images = ImageWriter(tmp_path / "images")
        return list(iter_jsonl_source(source, root=tmp_path, images=images))

    return run


GOOD = {"question": "what?", "answer": "red", "image": "a.png"}


def test_a_good_row_is_a_sample_with_its_picture(take):
    (sample,) = take({**GOOD, "id": "x1", "family": "search", "aliases": ["crimson"]})
    assert isinstance(sample, RawSample)
    assert (sample.source_row_id, sample.family, sample.split) == ("x1", "search", "train")
    assert sample.images[0].width_px == 32


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"answer": " "}, RejectReason.EMPTY_ANSWER, "answer"),
        ({"question": ""}, RejectReason.EMPTY_QUESTION, "question"),
        ({"answer": None}, RejectReason.MALFORMED_ROW, "answer"),
        ({"image": "broken.png"}, RejectReason.BROKEN_IMAGE, "image"),
        ({"image": "absent.png"}, RejectReason.BROKEN_IMAGE, "image"),
        ({"image": "../rows.jsonl"}, RejectReason.BROKEN_IMAGE, "image"),
    ],
)
def test_a_bad_row_is_rejected_by_name_and_the_others_stay(take, change, reason, field):
    first, bad, last = take(GOOD, {**GOOD, **change}, {**GOOD, "question": "who?"})
    assert isinstance(first, RawSample)
    assert isinstance(last, RawSample)
    assert isinstance(bad, Rejection)
    assert bad.reason is reason
    assert f"rows.jsonl, row 2, field '{field}'" in bad.evidence


def test_a_suite_source_marks_its_rows(take):
    (sample,) = take(GOOD, source=SOURCE.model_copy(update={"suite": "real"}))
    assert sample.split == "real"


def test_an_id_that_stands_twice_is_rejected(take):
    _, twin = take({**GOOD, "id": "1"}, {**GOOD, "id": "1", "question": "other?"})
    assert twin.reason is RejectReason.MALFORMED_ROW
