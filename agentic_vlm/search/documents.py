"""Documents to search, from JSON Lines, Parquet or SQuAD files, with their pictures."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.vision import decode_image, encode_png, to_rgb

_TEXT_KEYS = ("text", "contents", "context", "body")
_LINK_KEYS = ("link", "url")
_FIX = "correct the row; docs/search.md shows the form"
_MAX_IMAGE_PIXELS = 64_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A page with text."""

    article_id: str
    title: str
    text: str = field(repr=False)
    date: str
    link: str


@dataclass(frozen=True, slots=True)
class PictureDocument:
    """A page with a picture."""

    link: str
    title: str
    png: bytes = field(repr=False)


def read_documents(
    path: Path, *, images: Path | None = None
) -> Iterator[Document | PictureDocument]:
    """Yield the pages of a file, and the pictures on them.

    Args:
        path: `.jsonl` and `.parquet` have a row per page: `text`, and where there are any `id`,
            `title`, `link`, `date` and `image`. `.json` is a SQuAD file; its paragraphs are pages.
        images: folder of the pictures that rows name; beside the file where it is not given.

    Raises:
        ArtifactMissing: there is no such file.
        RecordError: a row or a picture is wrong; names file, row and field.
    """
    if not path.exists():
        raise ArtifactMissing(str(path), "no such file", "check the path")
    match path.suffix:
        case ".jsonl":
            rows = _jsonl_rows(path)
        case ".parquet":
            rows = _parquet_rows(path)
        case ".json":
            rows = _squad_rows(path)
        case _:
            what = f"documents come as .jsonl, .parquet or .json (SQuAD), not {path.suffix!r}"
            raise RecordError(str(path), what, "convert the file")
    for number, row in enumerate(rows, start=1):
        yield from _pages(row, f"{path}, row {number}", f"{path.stem}/{number:09d}", images)


def _jsonl_rows(path: Path) -> Iterator[Mapping[str, object]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                yield {}
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as fault:
                raise RecordError(f"{path}, row {number}", f"no JSON: {fault}", _FIX) from fault
            if not isinstance(row, dict):
                raise RecordError(f"{path}, row {number}", "no JSON object", _FIX)
            yield row


def _parquet_rows(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as fault:
        raise RecordError(str(path), str(fault).splitlines()[0], "check the file") from fault


def _squad_rows(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        for article in articles:
            title = str(article.get("title", "")).replace("_", " ")
            for number, paragraph in enumerate(article["paragraphs"]):
                link = f"squad:{article.get('title', '')}/{number}"
                yield {"title": title, "text": paragraph["context"], "link": link}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        what = f"no SQuAD file: {type(fault).__name__}: {fault}"
        raise RecordError(str(path), what, "it needs data[].paragraphs[].context") from fault


def _pages(
    row: Mapping[str, object], where: str, default_id: str, images: Path | None
) -> Iterator[Document | PictureDocument]:
    if not row:
        return
    text, title = _text(row, where, *_TEXT_KEYS), _text(row, where, "title")
    article_id = _text(row, where, "id") or default_id
    link = _text(row, where, *_LINK_KEYS) or article_id
    picture = row.get("image")
    if not text and not picture:
        raise RecordError(f"{where}, field 'text'", "neither text nor a picture", _FIX)
    if text:
        yield Document(article_id, title, text, _text(row, where, "date"), link)
    if picture:
        encoded = _encoded(picture, where, images)
        image = decode_image(encoded, where=f"{where}, field 'image'", max_pixels=_MAX_IMAGE_PIXELS)
        yield PictureDocument(link, title or article_id, encode_png(to_rgb(image)))


def _text(row: Mapping[str, object], where: str, *keys: str) -> str:
    key = next((key for key in keys if row.get(key) is not None), None)
    value = "" if key is None else row[key]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RecordError(f"{where}, field {key!r}", f"no text: {type(value).__name__}", _FIX)
    return value.strip()


def _encoded(picture: object, where: str, images: Path | None) -> bytes:
    if isinstance(picture, Mapping):
        # The form of Hugging Face data sets.
        picture = picture.get("bytes") or picture.get("path")
    if isinstance(picture, bytes):
        return picture
    if not isinstance(picture, str):
        fix = "give a file name, bytes, or {bytes, path}"
        raise RecordError(f"{where}, field 'image'", f"{type(picture).__name__}", fix)
    folder = images if images is not None else Path(where.rpartition(", row ")[0]).parent
    path = folder / picture
    try:
        return path.read_bytes()
    except OSError as fault:
        what = f"{path} cannot be read: {fault.strerror}"
        raise RecordError(f"{where}, field 'image'", what, "check the folder of images") from fault
