"""Record: the base of every row that is written to disk or sent on a wire."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1
"""Raised with every change of a field; `store` refuses other versions."""


class Record(BaseModel):
    """A frozen row with known fields only."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def content_id(*parts: str) -> str:
    """Return 16 hex digits that identify the parts, the same in every process.

    >>> content_id("which colour?", "red")
    '5713537d5c8ca2d2'
    """
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
