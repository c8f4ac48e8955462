"""data/sources.yaml: what is known about published sources, and where their files lie."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from agentic_vlm.errors import ParamsError
from agentic_vlm.params import FileSource, RegisteredSource, Section, read_yaml

REGISTRY = "data/sources.yaml"
"""The registry, relative to the root of the project."""


class RegistryEntry(Section):
    """One published source."""

    title: str
    """Name under which it is known."""
    homepage: str
    """Where it is published: a hub id or a repository."""
    licence: str = Field(min_length=1)
    """Licence as the publisher states it; `unknown` where there is none."""
    split: str
    """Which part of the source the file holds, such as `test`."""
    source: FileSource
    """How it is read. `share` is its sampling share."""
    num_rows: Annotated[int, Field(ge=0)] | None = None
    """Rows of the published file; null where nobody has counted."""
    note: str = ""
    """What to know before using it."""


def read_registry(root: Path) -> dict[str, RegistryEntry]:
    """Return the entries by name.

    Raises:
        ParamsError: the file is missing or an entry is wrong; names the entry and the field.
    """
    path = root / REGISTRY
    entries: dict[str, RegistryEntry] = {}
    for name, raw in read_yaml(path).items():
        try:
            content = dict(raw) if isinstance(raw, dict) else {}
            given = content.get("source")
            source = {**given, "name": name} if isinstance(given, dict) else given
            entries[name] = RegistryEntry.model_validate({**content, "source": source})
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            field = ".".join(str(key) for key in first["loc"])
            where = f"{REGISTRY}, entry {name!r}, field {field!r}"
            raise ParamsError(where, first["msg"], f"correct {REGISTRY}") from fault
    return entries


def resolve(source: RegisteredSource, root: Path) -> FileSource:
    """Return how a registered source is read.

    Raises:
        ParamsError: the registry does not know it, or names another suite.
    """
    entries = read_registry(root)
    if source.name not in entries:
        what = f"no entry {source.name!r}; there are {', '.join(sorted(entries))}"
        raise ParamsError(REGISTRY, what, "add the entry, or correct ingest.sources")
    found = entries[source.name].source
    if found.suite != source.suite:
        what = f"suite is {found.suite!r} there, {source.suite!r} in ingest.sources"
        raise ParamsError(f"{REGISTRY}, entry {source.name!r}", what, "make both the same")
    return found
