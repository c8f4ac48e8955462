"""The image search cache of MMSearch-R1, as stored answers.

The cache is one JSON object: row index -> `tool_returned_web_title` and `cached_images_path`, two
lists in step. The released environment looks an answer up by the index of the row; here it is
stored by the pixels of the row's picture, so that any data set with that picture finds it. As in
the release, an entry whose picture file is missing is left out.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.search.answers import ALL_HITS, Answer, AnswerStore, StoredHit, request_text
from agentic_vlm.search.pictures import picture_digest
from agentic_vlm.vision import decode_image

ENGINE = {"engine": "recorded"}
"""The engine under which the answers are stored: `search.pictures: recorded`."""


@dataclass(slots=True)
class Imported:
    """What an import came to."""

    num_rows: int = 0
    """Rows of the data set."""
    num_answers: int = 0
    """Rows whose answer was stored."""
    num_without_answer: int = 0
    """Rows that the cache does not know."""
    num_dropped_hits: int = 0
    """Hits whose picture file is missing."""


def import_mmsearch(cache: Path, rows: Path, images: Path, store: AnswerStore) -> Imported:
    """Store the answers of a cache for the pictures of a data set.

    Args:
        cache: the JSON file. A pickled cache is refused: reading one runs code from it.
        rows: Parquet file of the data set, with `extra_info.index` (or `data_id`) and `images`.
        images: folder in which `cached_images_path` is looked for, by path or by file name.
        store: where the answers go.

    Raises:
        ArtifactMissing: a file does not exist.
        RecordError: a file has another form.
    """
    entries, done = _entries(cache), Imported()
    for number, (index, picture) in enumerate(_rows(rows)):
        done.num_rows += 1
        entry = entries.get(index)
        if entry is None:
            done.num_without_answer += 1
            continue
        where = f"{cache}, entry {index!r}"
        titles, paths = (
            _texts(entry, "tool_returned_web_title", where),
            _texts(entry, "cached_images_path", where),
        )
        hits = tuple(
            StoredHit(title, "", thumbnail=content)
            for title, path in zip(titles, paths, strict=False)
            if (content := _content(path, images)) is not None
        )
        done.num_dropped_hits += min(len(titles), len(paths)) - len(hits)
        image = decode_image(picture, where=f"{rows}, row {number}, field 'images'")
        request = request_text(ENGINE, picture=picture_digest(image))
        store.add(Answer("picture", request, ALL_HITS, hits))
        done.num_answers += 1
    store.close()
    return done


def _entries(cache: Path) -> Mapping[str, Mapping[str, object]]:
    if not cache.exists():
        raise ArtifactMissing(str(cache), "no such file", "fetch the cache first")
    try:
        entries = json.loads(cache.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        fix = "only the JSON form is read; convert a pickled cache in isolation"
        raise RecordError(str(cache), "it is no JSON", fix) from fault
    if not isinstance(entries, dict) or not all(isinstance(one, dict) for one in entries.values()):
        fix = "it needs row index -> {tool_returned_web_title, cached_images_path}"
        raise RecordError(str(cache), "no object of objects", fix)
    return entries


def _rows(path: Path) -> Iterator[tuple[str, bytes]]:
    if not path.exists():
        raise ArtifactMissing(str(path), "no such file", "check the path")
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                where = f"{path}, row {number}"
                number += 1
                yield _index(row, where), _picture(row, where)


def _index(row: Mapping[str, object], where: str) -> str:
    extra = row.get("extra_info")
    index = extra.get("index") if isinstance(extra, Mapping) else row.get("data_id")
    if index is None:
        fix = "give the file whose rows the cache was made for"
        raise RecordError(f"{where}, field 'extra_info.index'", "there is none", fix)
    return str(index)


def _picture(row: Mapping[str, object], where: str) -> bytes:
    images = row.get("images")
    first = images[0] if isinstance(images, list) and images else None
    content = first.get("bytes") if isinstance(first, Mapping) else first
    if not isinstance(content, bytes):
        raise RecordError(f"{where}, field 'images'", "no bytes of a picture", "check the file")
    return content


def _texts(entry: Mapping[str, object], key: str, where: str) -> list[str]:
    texts = entry.get(key)
    if not isinstance(texts, list):
        raise RecordError(f"{where}, field {key!r}", "no list", "check the cache")
    return [text if isinstance(text, str) else "" for text in texts]


def _content(path: str, images: Path) -> bytes | None:
    """Return a picture of the folder; never of another place, wherever the path leads."""
    for candidate in (images / path, images / Path(path).name):
        if path and candidate.resolve().is_relative_to(images.resolve()) and candidate.is_file():
            return candidate.read_bytes()
    return None
