"""Reading a params file: every fault at once, in the user's words."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agentic_vlm.errors import ParamsError
from agentic_vlm.params.base import Section

S = TypeVar("S", bound=Section)

_MAX_SHOWN_CHARS = 60


class ParamsFileError(ParamsError):
    """A params file with one line per fault in `what`, as `PATH: FAULT`."""

    def __str__(self) -> str:
        return f"{self.where}\n{self.what}"


def read_yaml(path: Path) -> dict[str, object]:
    """Read a YAML mapping as DVC reads it: YAML 1.2, so that 1e-3 is a number; no key twice.

    Raises:
        ParamsError: the file is missing or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError as fault:
        raise ParamsError(str(path), "no such file", "run from the root of the project") from fault
    except YAMLError as fault:
        first = " ".join(str(fault).split())
        raise ParamsError(str(path), first, "make it valid YAML, each key once") from fault
    if not isinstance(raw, dict):
        raise ParamsError(str(path), "no mapping of sections", "start from the committed file")
    return raw


def parse_section(section: type[S], raw: Mapping[str, object], *, where: str) -> S:
    """Validate a mapping, strictly: no text for numbers, every key written out.

    Raises:
        ParamsError: with every fault.
    """
    faults: list[tuple[str, str]] = []
    parsed: S | None = None
    try:
        parsed = section.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        found = list(_value_faults(error, raw))
        faults += [fault for fault in found if not _only_echoes(fault[0], found)]
    faults += _key_faults(section, raw, "")
    if parsed is None or faults:
        order = list(section.model_fields)
        faults.sort(key=lambda fault: _rank(fault[0], order))
        lines = [f"  {path}{text}" for path, text in faults]
        raise ParamsFileError(
            f"{where} has {len(faults)} fault(s):", "\n".join(lines), f"correct {where}"
        )
    return parsed


def _rank(path: str, order: list[str]) -> int:
    top = path.split(".")[0].split("[")[0]
    return order.index(top) if top in order else len(order)


def _only_echoes(path: str, faults: list[tuple[str, str]]) -> bool:
    """Tell whether a fault only repeats that something inside it is wrong."""
    return any(other.startswith((f"{path}.", f"{path}[")) for other, _ in faults)


def _value_faults(error: ValidationError, raw: object) -> Iterator[tuple[str, str]]:
    for fault in error.errors(include_url=False):
        if fault["type"] in ("missing", "extra_forbidden"):
            continue
        path = _path(fault["loc"], raw)
        text = fault["msg"].removeprefix("Value error, ")
        text = text[:1].lower() + text[1:]
        shown = json.dumps(fault["input"], default=str)
        if isinstance(fault["input"], Mapping) or not path:
            yield path, f": {text}" if path else text
        else:
            yield path, f" = {shown[:_MAX_SHOWN_CHARS]}: {text}"


def _path(loc: tuple[int | str, ...], raw: object) -> str:
    """Write a location as `ingest.sources[0].name`, without the union tags that pydantic adds."""
    path = ""
    for key in loc:
        if isinstance(raw, Mapping) and key in raw:
            raw = raw[key]
            path += f".{key}" if path else str(key)
        elif isinstance(raw, list) and isinstance(key, int):
            raw = raw[key]
            path += f"[{key}]"
    return path


def _key_faults(section: type[Section], raw: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield missing and unknown keys of a section and of the sections in it."""
    if not isinstance(raw, Mapping):
        return
    prefix = f"{path}." if path else ""
    missing = [name for name in section.model_fields if name not in raw]
    yield from ((prefix + name, ": missing") for name in missing)
    for key in raw:
        if key not in section.model_fields:
            guess = difflib.get_close_matches(str(key), missing or list(section.model_fields), n=1)
            hint = f"; did you mean {guess[0]!r}?" if guess else ""
            yield f"{prefix}{key}", f": unknown key{hint}"
    for name, field in section.model_fields.items():
        if name in raw:
            yield from _nested_faults(field.annotation, raw[name], prefix + name)


def _nested_faults(annotation: object, raw: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(raw, list):
        for index, entry in enumerate(raw):
            yield from _nested_faults(annotation, entry, f"{path}[{index}]")
        return
    for section in _sections(annotation):
        if _takes(section, raw):
            yield from _key_faults(section, raw, path)


def _sections(annotation: object) -> Iterator[type[Section]]:
    """Yield the section classes inside an annotation such as `tuple[A | B, ...]`."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, Section):
            yield annotation
        return
    for inner in get_args(annotation):
        yield from _sections(inner)


def _takes(section: type[Section], raw: object) -> bool:
    """Tell whether a mapping is meant for this member of a union, by its `type` key."""
    field = section.model_fields.get("type")
    if field is None or get_origin(field.annotation) is not Literal:
        return True
    return isinstance(raw, Mapping) and raw.get("type") in get_args(field.annotation)
