"""AnswerStore: every answer of a search engine by content of the request, as Parquet files.

A folder of `part-<digest>.parquet`. A new answer is a file of its own at once, so that nothing that
was paid for is lost with the process; `compact` turns many files into one whose bytes depend on the
answers alone. Several processes may write at the same time, since names come from the content.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.errors import SearchUnavailable

Kind = Literal["text", "picture", "page"]

ALL_HITS = 1_000_000
"""`num_asked` of an answer that holds every hit there is."""

_ROWS_PER_GROUP = 64
_FIELDS = ("title", "link", "snippet", "date")
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("kind", pa.string()),
        ("request", pa.string()),
        ("num_asked", pa.int64()),
        (
            "hits",
            pa.list_(
                pa.struct([*((name, pa.string()) for name in _FIELDS), ("thumbnail", pa.binary())])
            ),
        ),
        ("fault", pa.string()),
        ("usd", pa.float64()),
    ],
    metadata={b"agentic_vlm.record": b"SearchAnswer", b"agentic_vlm.version": b"1"},
)


@dataclass(frozen=True, slots=True)
class StoredHit:
    """One hit of any kind; of a page, title, address, text and date."""

    title: str
    link: str
    snippet: str = ""
    date: str = ""
    thumbnail: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer and the request that it belongs to."""

    kind: Kind
    """What was searched for."""
    request: str
    """The request as JSON with sorted keys: engine, its settings, and the query, picture or URL."""
    num_asked: int
    """Hits that were asked for."""
    hits: tuple[StoredHit, ...]
    """What came back."""
    fault: str = ""
    """Of a page: why there is nothing to read."""
    usd: float = 0.0
    """What the answer cost when it was recorded, US dollars."""

    @property
    def key(self) -> str:
        """Digest of kind and request."""
        return request_key(self.kind, self.request)

    def holds(self, num_hits: int) -> bool:
        """Tell whether the answer to the same request with `num_hits` hits is known from it."""
        return num_hits <= self.num_asked or len(self.hits) < self.num_asked


def request_text(engine: Mapping[str, object], **asked: object) -> str:
    """Return a request as JSON; equal requests give equal texts."""
    return json.dumps({**engine, **asked}, ensure_ascii=False, sort_keys=True)


def request_key(kind: Kind, request: str) -> str:
    """Return the digest under which a request is stored."""
    return hashlib.sha256(f"{kind}\n{request}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Place:
    num_asked: int
    path: Path
    row: int


class AnswerStore:
    """The folder, indexed by key; answers are read from the files when they are needed."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder; nothing is read before the first question."""
        self.folder = folder
        self._places: dict[str, _Place] | None = None
        self._own: list[Path] = []
        self._lock = threading.Lock()

    def find(self, key: str, *, num_hits: int) -> Answer | None:
        """Return the stored answer; None where there is none with so many hits.

        Raises:
            SearchUnavailable: a file is damaged.
        """
        with self._lock:
            place = self._index().get(key)
            if place is None:
                return None
            answer = _read_row(place.path, place.row)
        return answer if answer.holds(num_hits) else None

    def add(self, answer: Answer) -> None:
        """Write an answer to disk, whole or not at all.

        Raises:
            SearchUnavailable: it cannot be written.
        """
        with self._lock:
            index = self._index()
            path = _write_part(self.folder, [answer])
            self._own.append(path)
            _keep_best(index, answer.key, _Place(answer.num_asked, path, 0))

    def count(self) -> int:
        """Return how many requests have an answer.

        Raises:
            SearchUnavailable: a file is damaged.
        """
        with self._lock:
            return len(self._index())

    def close(self) -> None:
        """Put the answers that this process has written into one file."""
        with self._lock:
            own = [path for path in dict.fromkeys(self._own) if path.exists()]
            if len(own) > 1:
                _merge(self.folder, own)
            self._own, self._places = [], None

    def compact(self) -> int:
        """Put all answers into one file, the best one of each request; return their number."""
        with self._lock:
            parts = _parts(self.folder)
            self._own, self._places = [], None
            return _merge(self.folder, parts) if parts else 0

    def _index(self) -> dict[str, _Place]:
        if self._places is None:
            places: dict[str, _Place] = {}
            for path in _parts(self.folder):
                table = _read(path, columns=["key", "num_asked"])
                rows = zip(table["key"].to_pylist(), table["num_asked"].to_pylist(), strict=True)
                for row, (key, num_asked) in enumerate(rows):
                    _keep_best(places, key, _Place(num_asked, path, row))
            self._places = places
        return self._places


def _keep_best(places: dict[str, _Place], key: str, place: _Place) -> None:
    known = places.get(key)
    if known is None or place.num_asked > known.num_asked:
        places[key] = place


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _merge(folder: Path, parts: list[Path]) -> int:
    best: dict[str, Answer] = {}
    for path in parts:
        for answer in _answers(_read(path)):
            known = best.get(answer.key)
            if known is None or answer.num_asked > known.num_asked:
                best[answer.key] = answer
    merged = _write_part(folder, best.values())
    for path in parts:
        if path != merged:
            path.unlink(missing_ok=True)
    return len(best)


def _write_part(folder: Path, answers: Iterable[Answer]) -> Path:
    rows = sorted(answers, key=lambda answer: answer.key)
    table = pa.Table.from_pylist([{"key": row.key, **asdict(row)} for row in rows], schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", row_group_size=_ROWS_PER_GROUP, write_page_checksum=True
    )
    content = sink.getvalue().to_pybytes()
    path = folder / f"part-{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    scratch = folder / f".{path.name}.{os.getpid()}.{threading.get_ident()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content)
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        fix = "free some space, or give another folder in search.answers"
        raise SearchUnavailable(str(folder), f"an answer cannot be stored: {error}", fix) from error
    return path


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (ValueError, OSError, KeyError) as error:
        raise _damaged(path, error) from error


def _read_row(path: Path, row: int) -> Answer:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as part:
            table = part.read_row_group(row // _ROWS_PER_GROUP)
    except (ValueError, OSError, KeyError) as error:
        raise _damaged(path, error) from error
    return _answers(table.slice(row % _ROWS_PER_GROUP, 1))[0]


def _answers(table: pa.Table) -> list[Answer]:
    return [
        Answer(
            kind=row["kind"],
            request=row["request"],
            num_asked=row["num_asked"],
            hits=tuple(StoredHit(**hit) for hit in row["hits"]),
            fault=row["fault"],
            usd=row["usd"],
        )
        for row in table.to_pylist()
    ]


def _damaged(path: Path, error: Exception) -> SearchUnavailable:
    what = " ".join(str(error).split())[:200]
    return SearchUnavailable(str(path), what, "fetch the stored answers anew, or delete this file")
