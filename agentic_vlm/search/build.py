"""Writes the corpus folder: articles, pictures and the text index, the same bytes every time."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import tantivy
from PIL import Image

from agentic_vlm.search.pictures import picture_signature
from agentic_vlm.search.text import TOKENIZER, build_analyzer, clean_text
from agentic_vlm.search.windows import write_windows

MANIFEST = "manifest.json"
"""File in the index folder that holds the SHA-256 of every other file there."""
INDEX_FOLDER = "text_index"
"""Where the text index lies in the corpus folder."""
ARTICLES_FOLDER = "articles"
"""Where the articles lie in the corpus folder."""
IMAGES_FOLDER = "images"
"""Where pictures and their signatures lie in the corpus folder."""
WINDOWS_FOLDER = "windows"
"""Where the windows of pictures lie in the corpus folder, if it has them."""
_MIN_HEAP_BYTES = 50_000_000
_MAX_HEAP_BYTES = 4_000_000_000


class ArticleLike(Protocol):
    """A page with text."""

    @property
    def article_id(self) -> str:
        """Unique; ties between hits are broken by it."""

    @property
    def title(self) -> str:
        """Title of the page."""

    @property
    def text(self) -> str:
        """Text of the page, without markup."""

    @property
    def date(self) -> str:
        """Date of publication; may be empty."""

    @property
    def link(self) -> str:
        """Address of the page."""


class EmblemLike(Protocol):
    """A page with a picture."""

    @property
    def link(self) -> str:
        """Address of the page."""

    @property
    def title(self) -> str:
        """Title of the page."""

    @property
    def png(self) -> bytes:
        """The picture, encoded as PNG."""


def build_index(
    articles: Iterable[ArticleLike],
    emblems: Iterable[EmblemLike],
    folder: Path,
    *,
    finds_crops: bool = False,
) -> None:
    """Write a corpus folder, whole or not at all; the order of the rows does not matter.

    Args:
        articles: pages with text.
        emblems: pages with a picture.
        folder: the corpus folder; what is there is replaced.
        finds_crops: let pictures be found by a part of them; takes 25 kB per picture.

    Raises:
        ValueError: two articles have the same id.
    """
    pages = sorted(articles, key=lambda page: page.article_id)
    if len({page.article_id for page in pages}) < len(pages):
        raise ValueError("two articles have the same article_id")
    with _replacing(folder) as target:
        _write_articles(pages, target / ARTICLES_FOLDER)
        pictures = sorted(emblems, key=lambda one: (one.link, one.png))
        _write_images(pictures, target / IMAGES_FOLDER)
        if finds_crops:
            images = (Image.open(io.BytesIO(one.png)) for one in pictures)
            write_windows(images, target / WINDOWS_FOLDER, num=len(pictures))
            _write_manifest(target / WINDOWS_FOLDER)
        _write_index(pages, target / INDEX_FOLDER)


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` if the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    fresh = scratch / "new"
    fresh.mkdir()
    try:
        yield fresh
        if folder.exists():
            folder.rename(scratch / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_parquet(columns: dict[str, pa.Array], folder: Path) -> None:
    folder.mkdir()
    pq.write_table(
        pa.table(columns),
        folder / "part-00000.parquet",
        compression="zstd",
        write_page_checksum=True,
    )


def _write_articles(pages: Sequence[ArticleLike], folder: Path) -> None:
    columns = {
        "article_id": pa.array([page.article_id for page in pages], pa.string()),
        "title": pa.array([clean_text(page.title) for page in pages], pa.string()),
        "text": pa.array([clean_text(page.text) for page in pages], pa.string()),
        "date": pa.array([page.date for page in pages], pa.string()),
        "link": pa.array([page.link for page in pages], pa.string()),
    }
    _write_parquet(columns, folder)


def _write_images(emblems: Sequence[EmblemLike], folder: Path) -> None:
    signatures = [picture_signature(Image.open(io.BytesIO(one.png))) for one in emblems]
    columns = {
        "link": pa.array([one.link for one in emblems], pa.string()),
        "title": pa.array([clean_text(one.title) for one in emblems], pa.string()),
        "png": pa.array([one.png for one in emblems], pa.large_binary()),
        "phash": pa.array(signatures, pa.string()),
    }
    _write_parquet(columns, folder)


def _write_index(pages: Sequence[ArticleLike], folder: Path) -> None:
    folder.mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("title", stored=True, tokenizer_name=TOKENIZER, index_option="freq")
    builder.add_text_field("text", stored=True, tokenizer_name=TOKENIZER, index_option="freq")
    builder.add_text_field("link", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("date", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("rank", stored=True)
    schema = builder.build()
    index = tantivy.Index(schema, path=str(folder))
    index.register_tokenizer(TOKENIZER, build_analyzer())
    # One thread and a heap that holds everything give one segment whose documents keep their
    # order, so the bytes depend on the articles alone and equal scores keep the order of ids.
    num_bytes = sum(len(page.text) for page in pages)
    heap = min(_MAX_HEAP_BYTES, max(_MIN_HEAP_BYTES, 8 * num_bytes))
    writer = index.writer(heap_size=heap, num_threads=1)
    for rank, page in enumerate(pages):
        fields = {"title": page.title, "text": page.text, "link": page.link, "date": page.date}
        document = tantivy.Document(**{name: clean_text(text) for name, text in fields.items()})
        document.add_unsigned("rank", rank)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    del writer, index
    _make_reproducible(folder)


def _make_reproducible(folder: Path) -> None:
    """Name segments by their content instead of by chance, drop lock files, add the manifest."""
    for lock in (".managed.json", ".tantivy-meta.lock", ".tantivy-writer.lock"):
        (folder / lock).unlink(missing_ok=True)
    meta = folder / "meta.json"
    text = meta.read_text()
    for segment in json.loads(text)["segments"]:
        old = re.sub("-", "", segment["segment_id"])
        files = sorted(folder.glob(f"{old}.*"))
        digest = hashlib.sha256(b"".join(_digest(path).encode() for path in files)).hexdigest()
        new = uuid.UUID(digest[:32])
        for path in files:
            os.replace(path, folder / f"{new.hex}{path.suffix}")
        text = text.replace(segment["segment_id"], str(new))
    meta.write_text(text)
    _write_manifest(folder)


def _write_manifest(folder: Path) -> None:
    digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_manifest(folder: Path) -> None:
    """Check every file of an index folder against its manifest.

    A damaged index is not always noticed by the engine: it may find other pages, or abort.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged.
    """
    digests: dict[str, str] = json.loads((folder / MANIFEST).read_text())
    for name, digest in digests.items():
        if _digest(folder / name) != digest:
            raise ValueError(f"{name} is damaged")
