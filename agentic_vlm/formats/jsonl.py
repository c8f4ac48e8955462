"""Samples as JSON Lines with pictures beside them: one object per line.

Fields: `question`, `answer`, `image` or `images` (paths below the folder of pictures), and where
wanted `id`, `family`, `aliases`, `options`, `answer_type`. Other fields are left alone.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentic_vlm.errors import ArtifactMissing, ImageError
from agentic_vlm.schema import AnswerType


class JsonlRow(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    question: str
    answer: str
    image: str | None = None
    images: tuple[str, ...] = ()
    id: str | None = None
    family: Literal["perception", "reasoning", "search", "integration", "text"] | None = None
    aliases: tuple[str, ...] = Field(default=())
    options: tuple[str, ...] = Field(default=())
    answer_type: AnswerType | None = None

    @model_validator(mode="after")
    def _names_its_pictures_once(self) -> "JsonlRow":
        if self.image is not None and self.images:
            raise ValueError("'image' and 'images' are both given; keep one")
        return self

    @property
    def picture_paths(self) -> tuple[str, ...]:
        """Paths of all pictures, in order."""
        return self.images if self.image is None else (self.image,)


@dataclass(frozen=True, slots=True)
class JsonlFault:
    """What is wrong with a line."""

    field: str
    """The field; empty where the line as a whole is at fault."""
    what: str
    """The fault."""


@dataclass(frozen=True, slots=True)
class JsonlLine:
    """A line with its place."""

    number: int
    """Counted from 1, empty lines included."""
    content: JsonlRow | JsonlFault


def iter_jsonl(path: Path) -> Iterator[JsonlLine]:
    """Yield every line that is not empty; a bad one is a fault, never an exception.

    Raises:
        ArtifactMissing: there is no such file.
    """
    if not path.is_file():
        raise ArtifactMissing(str(path), "no such file", "correct `path` in ingest.sources")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield JsonlLine(number, _parse_line(line))


def _parse_line(line: bytes) -> JsonlRow | JsonlFault:
    try:
        # A byte order mark at the start of a file is no part of the first object.
        content = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        return JsonlFault("", f"no JSON: {fault}")
    if not isinstance(content, dict):
        return JsonlFault("", f"a {type(content).__name__}, not an object")
    try:
        return JsonlRow.model_validate(content)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        return JsonlFault(".".join(map(str, first["loc"])), first["msg"])


def read_picture(folder: Path, name: str) -> bytes:
    """Read a picture file that must lie below the folder.

    Raises:
        ImageError: the path leaves the folder, by itself or through a link, or cannot be read.
    """
    place = Path(name)
    root = folder.resolve()
    if place.is_absolute() or ".." in place.parts or "\0" in name:
        raise ImageError(name, "leaves the folder of pictures", "give a path below it")
    try:
        resolved = (root / place).resolve()
        if not resolved.is_relative_to(root):
            raise ImageError(name, "a link leads out of the folder of pictures", "copy the file")
        return resolved.read_bytes()
    except (OSError, RuntimeError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise ImageError(name, f"cannot be read: {reason}", "add the file") from fault
