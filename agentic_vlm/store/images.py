"""Pictures by content hash: bytes in Parquet shards, decoded at the last moment."""

import hashlib
import json
import struct
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.schema import ImageRef
from agentic_vlm.store.folders import list_parts, replacing_folder
from agentic_vlm.vision import decode_image, encode_png, to_rgb

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("media_type", pa.string(), nullable=False),
        pa.field("width_px", pa.int64(), nullable=False),
        pa.field("height_px", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ],
    metadata={b"record": b"Image"},
)
# A point read unpacks one row group; 16 pictures keep that to a few milliseconds.
_ROWS_PER_GROUP = 16
_ROWS_PER_PART = 4096
_MAX_CACHED_GROUPS = 32
_LENGTHS = struct.Struct("<II")


class _Place(NamedTuple):
    """Where the bytes of a picture begin in the spool, and how many there are."""

    ref: ImageRef
    offset: int
    length: int


class ImageWriter:
    """Collects pictures, each once, and writes them sorted by hash when closed.

    Bytes wait in a file, not in memory. With `spool` that file outlives a crash, and a writer that
    is opened on it again still holds what was added; without, it is temporary. Used as a context
    manager, it writes only if the block ends well.
    """

    def __init__(self, folder: Path, *, spool: Path | None = None) -> None:
        """Name the folder to write, such as `data/raw/images`."""
        self.folder = folder
        self._places: dict[str, _Place] = {}
        self._spool = _open_spool(spool)
        self._end = 0
        for place in _iter_spool(self._spool):
            self._places[place.ref.sha256] = place
            self._end = place.offset + place.length
        self._spool.truncate(self._end)

    def add(self, picture: bytes | Image.Image, *, where: str = "picture") -> ImageRef:
        """Take a picture and return its reference.

        Args:
            picture: an encoded file, kept as it is, or an image, encoded as PNG.
            where: names the picture in errors, such as its path.

        Raises:
            ImageError: the file is broken or unpacks to too many pixels.
        """
        encoded = picture if isinstance(picture, bytes) else encode_png(to_rgb(picture))
        sha256 = hashlib.sha256(encoded).hexdigest()
        if sha256 in self._places:
            return self._places[sha256].ref
        media_type = "image/png"
        if isinstance(picture, bytes):
            picture = decode_image(encoded, where=where)
            media_type = Image.MIME.get(picture.format or "", "application/octet-stream")
        ref = ImageRef(
            sha256=sha256,
            width_px=picture.width,
            height_px=picture.height,
            media_type=media_type,
        )
        self._append(ref, encoded)
        return ref

    def get_bytes(self, sha256: str) -> bytes:
        """Return the bytes of a picture that was added.

        Raises:
            ImageError: it was not.
        """
        place = self._places.get(sha256)
        if place is None:
            raise _unknown(sha256, "the open ImageWriter")
        return self._read(place)

    def close(self, *, keep: Collection[str] | None = None) -> int:
        """Write the folder and return the number of pictures; `keep` names those to write."""
        wanted = set(self._places if keep is None else keep)
        chosen = sorted(wanted)
        with replacing_folder(self.folder) as draft:
            for part, start in enumerate(range(0, max(len(chosen), 1), _ROWS_PER_PART)):
                path = draft / f"part-{part:05d}.parquet"
                self._write_part(path, chosen[start : start + _ROWS_PER_PART])
        self._spool.close()
        return len(chosen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._spool.closed:
            return
        if kind is None:
            self.close()
        else:
            self._spool.close()

    def _append(self, ref: ImageRef, encoded: bytes) -> None:
        header = ref.model_dump_json().encode()
        self._spool.seek(self._end)
        self._spool.write(_LENGTHS.pack(len(header), len(encoded)) + header + encoded)
        self._spool.flush()
        offset = self._end + _LENGTHS.size + len(header)
        self._places[ref.sha256] = _Place(ref, offset, len(encoded))
        self._end = offset + len(encoded)

    def _read(self, place: _Place) -> bytes:
        self._spool.seek(place.offset)
        return self._spool.read(place.length)

    def _write_part(self, path: Path, chosen: list[str]) -> None:
        # Pictures are compressed already; compressing them again only costs time.
        compression = {field.name: "zstd" for field in IMAGE_SCHEMA} | {"data": "none"}
        with pq.ParquetWriter(path, IMAGE_SCHEMA, compression=compression) as writer:
            for start in range(0, len(chosen), _ROWS_PER_GROUP):
                rows = []
                for sha256 in chosen[start : start + _ROWS_PER_GROUP]:
                    encoded = self.get_bytes(sha256)
                    ref = self._places[sha256].ref.model_dump()
                    rows.append({**ref, "size_bytes": len(encoded), "data": encoded})
                writer.write_table(pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA))


class ImageStore:
    """Reads pictures from the folders that ImageWriter wrote. Threads may share it."""

    def __init__(self, places: dict[str, tuple[Path, int, int]]) -> None:
        """Take the index: (file, row group, row) by hash; see `open`."""
        self._places = places
        self._files: dict[Path, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[Path, int], list[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, *folders: Path) -> Self:
        """Index the pictures of all folders; only hashes are read.

        Raises:
            ArtifactMissing: a folder is missing.
        """
        places: dict[str, tuple[Path, int, int]] = {}
        for path in (path for folder in folders for path in list_parts(folder)):
            with pq.ParquetFile(path) as part:
                for group in range(part.num_row_groups):
                    hashes = part.read_row_group(group, columns=["sha256"])["sha256"]
                    for row, sha256 in enumerate(hashes.to_pylist()):
                        places.setdefault(sha256, (path, group, row))
        return cls(places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def get_bytes(self, picture: ImageRef | str) -> bytes:
        """Return the encoded file, by reference or by hash.

        Raises:
            ImageError: no folder holds it.
        """
        sha256 = picture if isinstance(picture, str) else picture.sha256
        if sha256 not in self._places:
            raise _unknown(sha256, "the image folders that were opened")
        path, group, row = self._places[sha256]
        with self._lock:
            return self._group(path, group)[row]

    def get(self, picture: ImageRef | str) -> Image.Image:
        """Decode a picture to RGB, by reference or by hash.

        Raises:
            ImageError: no folder holds it, it is broken, or its size is not that of the reference.
        """
        sha256 = picture if isinstance(picture, str) else picture.sha256
        image = to_rgb(decode_image(self.get_bytes(sha256), where=f"picture {sha256}"))
        if isinstance(picture, ImageRef) and image.size != (picture.width_px, picture.height_px):
            raise ImageError(
                f"picture {sha256}",
                f"{image.size} px, but its reference says {picture.width_px} x {picture.height_px}",
                "rerun the stage that wrote the reference",
            )
        return image

    def _group(self, path: Path, group: int) -> list[bytes]:
        key = (path, group)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        if path not in self._files:
            self._files[path] = pq.ParquetFile(path)
        table = self._files[path].read_row_group(group, columns=["data"])
        encoded: list[bytes] = table["data"].to_pylist()
        self._groups[key] = encoded
        if len(self._groups) > _MAX_CACHED_GROUPS:
            self._groups.popitem(last=False)
        return encoded


def _unknown(sha256: str, place: str) -> ImageError:
    return ImageError(f"picture {sha256}", f"not in {place}", "rerun the stage that wrote it")


def _open_spool(path: Path | None) -> BinaryIO:
    if path is None:
        return TemporaryFile()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.open("r+b")


def _iter_spool(spool: BinaryIO) -> Iterator[_Place]:
    """Yield what a spool holds; what a crash cut short at its end is left out."""
    size = spool.seek(0, 2)
    start = 0
    while start + _LENGTHS.size <= size:
        spool.seek(start)
        header_length, length = _LENGTHS.unpack(spool.read(_LENGTHS.size))
        offset = start + _LENGTHS.size + header_length
        if offset + length > size:
            return
        ref = ImageRef.model_validate(json.loads(spool.read(header_length)))
        yield _Place(ref, offset, length)
        start = offset + length
