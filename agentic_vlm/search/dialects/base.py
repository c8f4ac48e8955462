"""Dialect: how a search service wants to be asked, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agentic_vlm.search.base import TextHit
from agentic_vlm.search.exchange import Ask


class FormError(ValueError):
    """A reply does not have the form of the service; the text names the key, never the content."""


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """A picture that a service names, before it is fetched."""

    title: str
    link: str
    thumbnail: bytes | str = field(repr=False)
    """The encoded picture, or its address."""


class Dialect(Protocol):
    """One search service; one file each."""

    @property
    def name(self) -> str:
        """As in params.yaml."""
        ...

    @property
    def key_variable(self) -> str:
        """Environment variable that holds the key."""
        ...

    @property
    def is_key_needed(self) -> bool:
        """Whether the service refuses requests without a key."""
        ...

    @property
    def max_query_chars(self) -> int:
        """Longer queries are cut; the service would refuse them."""
        ...

    @property
    def takes_picture(self) -> str:
        """How it takes pictures: `bytes`, `address`, or `never`."""
        ...

    def ask_text(self, query: str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a text search."""
        ...

    def read_text(self, answer: Mapping[str, object]) -> list[TextHit]:
        """Return all hits of an answer, in its order.

        Raises:
            FormError: the answer does not have the form of the service.
        """
        ...

    def ask_picture(self, picture: bytes | str, *, num_hits: int, key: str) -> Ask:
        """Return the request of a picture search, by PNG bytes or by public address."""
        ...

    def read_pictures(self, answer: Mapping[str, object]) -> list[FoundPicture]:
        """Return all pictures of an answer, in its order.

        Raises:
            FormError: the answer does not have the form of the service.
        """
        ...


def rows_of(answer: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """Return the objects of a list in an answer.

    Raises:
        FormError: there is no such list.
    """
    rows = answer.get(key)
    if not isinstance(rows, list):
        raise FormError(f"there is no list {key!r}")
    return [row for row in rows if isinstance(row, dict)]


def text_of(row: Mapping[str, object], *keys: str) -> str:
    """Return the first of the keys that holds text, in one line; empty where none does."""
    texts = (row[key] for key in keys if isinstance(row.get(key), str))
    return " ".join(next((str(text) for text in texts if text), "").split())
