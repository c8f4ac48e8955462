"""Looks a benchmark's file through: is it the known one, and can every row be read?"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agentic_vlm.errors import ParamsError
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite
from agentic_vlm.vision import decode_image

_CHUNK_BYTES = 1 << 20
_MAX_VALUES = 40


@dataclass(slots=True)
class Findings:
    """What a look through a file has found."""

    suite: Suite
    """As which benchmark it was read."""
    num_items: int = 0
    """Questions."""
    num_pictures: int = 0
    """Pictures, all of which could be decoded."""
    num_texts: int = 0
    """Questions without a picture."""
    known: KnownFile | None = None
    """Which published file it is, byte for byte; absent where unknown."""
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """How many items have which value of each label with few values."""
    doubles: list[str] = field(default_factory=list)
    """Item ids that stand more than once."""

    def lines(self) -> list[str]:
        """Return the findings as lines of text."""
        size = self.suite.size
        if size is None:
            told = "the published number is not known"
        else:
            told = "complete" if size == self.num_items else f"published: {size}"
        lines = [
            f"{self.suite.title} ({self.suite.name})",
            f"  items: {self.num_items} ({told}); {self.num_texts} without a picture",
            f"  pictures: {self.num_pictures}, all readable",
            f"  file: {self._file()}",
        ]
        for name, counts in sorted(self.labels.items()):
            if len(counts) <= _MAX_VALUES:
                values = ", ".join(f"{value} {count}" for value, count in sorted(counts.items()))
                lines.append(f"  {name}: {values}")
        if self.doubles:
            shown = ", ".join(self.doubles[:5])
            lines.append(f"  WARNING: {len(self.doubles)} item ids stand twice, such as {shown}")
        return lines

    def _file(self) -> str:
        if self.known is not None:
            return f"{self.known.name}, the known one {self.known.note}".rstrip()
        return "not a known one" if self.suite.files else "no digest of this benchmark is known"


def guess_suite(path: Path, suites: Iterable[Suite]) -> Suite:
    """Return the suite that a file belongs to, by its name.

    Raises:
        ParamsError: no suite has a known file of that name.
    """
    names = {known.name: suite for suite in suites for known in suite.files}
    plain = path.stem.lower().replace("-", "_")
    by_name = {suite.name: suite for suite in suites}
    found = names.get(path.name) or by_name.get(plain)
    if found is None:
        fix = "name the benchmark with --suite; without arguments the command lists them"
        raise ParamsError(str(path), "its name is that of no known file", fix)
    return found


def check_file(suite: Suite, path: Path, *, limit: int | None = None) -> Findings:
    """Read every item and decode every picture.

    Args:
        suite: as which benchmark to read it.
        path: file or folder.
        limit: stop after so many items; absent for all.

    Raises:
        RecordError: a row is not of the published form.
        ImageError: a picture is broken.
    """
    found = Findings(suite)
    seen: set[str] = set()
    for item in suite.iter_items(path):
        if limit is not None and found.num_items >= limit:
            break
        found.num_items += 1
        found.num_texts += not item.images
        for encoded in item.images:
            decode_image(encoded, where=f"{path.name}, item {item.item_id}")
            found.num_pictures += 1
        for name, value in item.labels.items():
            counts = found.labels.setdefault(name, Counter())
            # A label with a value per item, such as the problem, is no table.
            if len(counts) <= _MAX_VALUES:
                counts[value] += 1
        for mark in item.marks:
            found.labels.setdefault("hard for", Counter())[mark] += 1
        if item.item_id in seen:
            found.doubles.append(item.item_id)
        seen.add(item.item_id)
    found.known = find_known(suite, path)
    return found


def find_known(suite: Suite, path: Path) -> KnownFile | None:
    """Return the published file that this one is, byte for byte, or None."""
    if not path.is_file() or not suite.files:
        return None
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return next((known for known in suite.files if known.md5 == digest.hexdigest()), None)
