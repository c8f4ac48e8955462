"""The corpus folder."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agentic_vlm.search import build_index

from .conftest import PAGES, PICTURES, Picture


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_the_order_of_the_rows_does_not_change_a_byte(corpus: Path, tmp_path: Path) -> None:
    build_index(PAGES[::-1], PICTURES[::-1], tmp_path / "other")
    assert digests(corpus) == digests(tmp_path / "other")


def test_another_text_changes_the_index(corpus: Path, tmp_path: Path) -> None:
    build_index(PAGES[1:], PICTURES, tmp_path / "other")
    assert digests(corpus) != digests(tmp_path / "other")


def test_the_folder_has_the_agreed_columns(corpus: Path) -> None:
    articles = pq.read_table(corpus / "articles")
    images = pq.read_table(corpus / "images")
    assert articles.column_names == ["article_id", "title", "text", "date", "link"]
    assert images.column_names == ["link", "title", "png", "phash"]
    assert articles["article_id"].to_pylist() == sorted(page.article_id for page in PAGES)


def test_no_lock_file_is_left(corpus: Path) -> None:
    assert [name for name in digests(corpus) if "lock" in name or "managed" in name] == []


def test_building_again_replaces_the_folder(corpus: Path) -> None:
    (corpus / "stray").write_text("x")
    build_index(PAGES, PICTURES, corpus)
    assert "stray" not in digests(corpus)


def test_a_failing_build_leaves_the_old_folder_and_no_scraps(corpus: Path) -> None:
    before = digests(corpus)
    with pytest.raises(OSError, match="cannot identify"):
        build_index(PAGES, [Picture("l", "t", b"no picture")], corpus)
    assert digests(corpus) == before
    assert list(corpus.parent.iterdir()) == [corpus]


def test_two_articles_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same article_id"):
        build_index([PAGES[0], PAGES[0]], [], tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
