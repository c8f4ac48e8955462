"""The image search cache of MMSearch-R1."""

import asyncio
import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentic_vlm.errors import AgenticError
from agentic_vlm.params import SearchParams
from agentic_vlm.search import ImageHit, build
from agentic_vlm.search.__main__ import main
from agentic_vlm.search.answers import AnswerStore
from agentic_vlm.search.mmsearch import import_mmsearch

from .conftest import draw, encode


def write_rows(path: Path, *numbers: int) -> Path:
    """Write rows in the form of MMSearch-R1 and verl; the picture of row n is drawing n."""
    rows = [
        {
            "prompt": [{"role": "user", "content": "<image>?"}],
            "images": [{"bytes": encode(draw(number)), "path": None}],
            "extra_info": {"index": f"fvqa_train_{number}", "split": "train"},
        }
        for number in numbers
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    (images / "a.jpg").write_bytes(b"picture a")
    (images / "deep" / "b.jpg").write_bytes(b"picture b")
    (tmp_path / "secret").write_bytes(b"not a thumbnail")
    cache = {
        "fvqa_train_1": {
            "tool_returned_web_title": ["A", "gone", "B", "C"],
            "cached_images_path": ["/data/old/a.jpg", "gone.jpg", "deep/b.jpg", "../secret"],
            "other": 1,
        },
        "fvqa_train_2": {"tool_returned_web_title": [], "cached_images_path": []},
    }
    (tmp_path / "cache.json").write_text(json.dumps(cache))
    return tmp_path / "cache.json", write_rows(tmp_path / "rows.parquet", 1, 2, 3), images


def test_the_cache_is_found_by_the_picture_of_its_row(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "search_answers"
    assert main(["import-mmsearch", *map(str, files), "--answers", str(answers)]) == 0
    assert capsys.readouterr().out == (
        "3 rows: 2 answers stored, 1 rows not in the cache, 2 hits without their picture left out\n"
    )

    async def go() -> list[list[ImageHit]]:
        params = SearchParams(type="fake", pictures="recorded")
        search = build(params, corpus=tmp_path / "corpus")
        found = [await search.search_image(draw(number), num_hits=5) for number in (1, 2)]
        await search.close()
        return found

    first, second = asyncio.run(go())
    assert first == [ImageHit("A", "", b"picture a"), ImageHit("B", "", b"picture b")]
    assert second == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"fvqa_train_1": {}}), "convert a pickled cache in isolation"),
        (b"[]", "no object of objects"),
        (b'{"fvqa_train_1": {"cached_images_path": []}}', "'tool_returned_web_title'"),
    ],
)
def test_another_form_is_refused(
    files: tuple[Path, Path, Path], tmp_path: Path, content: bytes, message: str
) -> None:
    cache, rows, images = files
    cache.write_bytes(content)
    with pytest.raises(AgenticError, match=message):
        import_mmsearch(cache, rows, images, AnswerStore(tmp_path / "answers"))


def test_rows_without_an_index_are_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cache, rows, images = files
    pq.write_table(pa.Table.from_pylist([{"images": [{"bytes": b"x"}]}]), rows)
    with pytest.raises(AgenticError, match=r"row 0, field 'extra_info\.index'"):
        import_mmsearch(cache, rows, images, AnswerStore(tmp_path / "answers"))
