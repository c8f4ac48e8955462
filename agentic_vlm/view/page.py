"""Write a slice as one HTML file that opens before it has been read to its end.

The list comes first and is small; trajectories and pictures follow in packed blocks, which the page
unpacks when somebody asks for them. What a model wrote is hostile: the page puts every text into
the document as text, and its content policy allows one script, named by its digest, and no request.
"""

import base64
import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import BinaryIO, NamedTuple

from agentic_vlm.errors import ImageError
from agentic_vlm.schema import ImageRef
from agentic_vlm.slices import Entry
from agentic_vlm.store import ImageStore
from agentic_vlm.view.entries import SpellTokens, detail_of, row_of

_ROWS_PER_BLOCK = 40
"""Trajectories in a block: small enough to unpack in a blink."""
_MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"})


class PageCounts(NamedTuple):
    """What a page holds."""

    num_trajectories: int
    """Rows of the list."""
    num_pictures: int
    """Different pictures."""
    num_missing: int
    """Pictures that no folder holds; the page says so in their place."""


def write_page(
    path: Path,
    entries: Iterable[Entry],
    pictures: ImageStore,
    *,
    title: str,
    spell: SpellTokens | None = None,
) -> PageCounts:
    """Write the page; memory is bounded by the list and one block.

    Args:
        path: the HTML file.
        entries: what to show, in the order in which it is listed at first.
        pictures: where their pictures are.
        title: heading of the page.
        spell: texts of token ids; absent where tokens are not shown.
    """
    rows: list[list[object]] = []
    names: set[str] = set()
    refs: dict[str, ImageRef] = {}
    with tempfile.TemporaryFile() as blocks:
        for number, block in enumerate(_batched(entries)):
            rows += [[*row_of(entry), number] for entry in block]
            details = [detail_of(entry, spell=spell) for entry in block]
            names |= {entry.model for entry in block}
            for entry in block:
                refs.update({ref.sha256: ref for ref in _refs(entry)})
            blocks.write(_block(f"block-{number}", _pack(details)))
        num_missing = _write_pictures(blocks, refs, pictures)
        blocks.seek(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as out:
            out.write(_head(title, _pack({"title": title, "models": sorted(names), "rows": rows})))
            while piece := blocks.read(1 << 20):
                out.write(piece)
            out.write(b"</body></html>\n")
        draft.replace(path)
    return PageCounts(len(rows), len(refs), num_missing)


def _batched(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    block: list[Entry] = []
    for entry in entries:
        block.append(entry)
        if len(block) == _ROWS_PER_BLOCK:
            yield block
            block = []
    if block:
        yield block


def _refs(entry: Entry) -> Iterator[ImageRef]:
    yield from entry.trajectory.images
    for turn in entry.trajectory.turns:
        if turn.observation is not None:
            yield from turn.observation.images


def _write_pictures(out: BinaryIO, refs: dict[str, ImageRef], pictures: ImageStore) -> int:
    num_missing = 0
    # Sorted as the store holds them, so that each of its row groups is read once.
    for sha256, ref in sorted(refs.items()):
        try:
            encoded = pictures.get_bytes(sha256)
        except ImageError:
            num_missing += 1
            continue
        if ref.media_type in _MEDIA_TYPES:
            content = base64.b64encode(encoded)
            out.write(_block(f"picture-{sha256}", content, media_type=ref.media_type))
    return num_missing


def _pack(content: object) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Surrogates that a model managed to write survive as question marks, not as an error.
    return base64.b64encode(zlib.compress(text.encode("utf-8", errors="replace"), 6))


def _block(name: str, content: bytes, *, media_type: str = "") -> bytes:
    kind = f' data-media-type="{media_type}"' if media_type else ""
    return f'<script type="text/plain" id="{name}"{kind}>'.encode() + content + b"</script>\n"


def _head(title: str, index: bytes) -> bytes:
    script, style = _read("page.js"), _read("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    shell = _read("page.html").replace("{{policy}}", policy).replace("{{style}}", style)
    before, after = shell.replace("{{title}}", _escape(title)).split("{{index}}")
    return before.encode() + _block("index", index) + after.replace("{{script}}", script).encode()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _read(name: str) -> str:
    return resources.files("agentic_vlm.view").joinpath(name).read_text(encoding="utf-8")
