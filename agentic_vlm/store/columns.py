"""How the fields of a record become Parquet columns, and back.

Scalars are native columns; tuples of scalars are list columns; everything nested is JSON text.
"""

import json
from collections.abc import Sequence
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from agentic_vlm.errors import RecordError
from agentic_vlm.schema import SCHEMA_VERSION, Record

RECORD_KEY = b"record"
VERSION_KEY = b"schema_version"
_SCALARS: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


class Column(NamedTuple):
    """One field of a record on disk."""

    name: str
    """Name of field and column."""
    arrow_type: pa.DataType
    """Type of the column."""
    is_nullable: bool
    """Whether the field may be absent."""
    is_json: bool
    """Whether the column holds JSON text."""


@cache
def columns_of(record_type: type[Record]) -> tuple[Column, ...]:
    """Return the columns of a record type, in the order of its fields."""
    return tuple(_column(name, field) for name, field in _annotations(record_type).items())


def arrow_schema(record_type: type[Record]) -> pa.Schema:
    """Return the Parquet schema of a record type; it names the record and the schema version."""
    fields = [
        pa.field(column.name, column.arrow_type, nullable=column.is_nullable)
        for column in columns_of(record_type)
    ]
    tags = {RECORD_KEY: record_type.__name__.encode(), VERSION_KEY: str(SCHEMA_VERSION).encode()}
    return pa.schema(fields, metadata=tags)


def to_table(records: Sequence[Record], record_type: type[Record], *, where: str) -> pa.Table:
    """Turn records into a table.

    Raises:
        RecordError: a value does not fit its column, such as a whole number beyond 64 bits.
    """
    schema = arrow_schema(record_type)
    arrays = []
    for column, field in zip(columns_of(record_type), schema, strict=True):
        values = [_encode(getattr(record, column.name), column=column) for record in records]
        try:
            arrays.append(pa.array(values, type=field.type))
        except (pa.ArrowException, OverflowError) as fault:
            raise RecordError(
                f"{where}, field {column.name!r}",
                str(fault),
                f"keep the field within {field.type}",
            ) from fault
    return pa.Table.from_arrays(arrays, schema=schema)


def decode_row(row: dict[str, object], columns: Sequence[Column]) -> dict[str, object]:
    """Parse the JSON columns of a row.

    Raises:
        json.JSONDecodeError: a JSON column holds no JSON.
    """
    for column in columns:
        text = row.get(column.name)
        if column.is_json and isinstance(text, str):
            row[column.name] = json.loads(text)
    return row


def _annotations(record_type: type[Record]) -> dict[str, object]:
    return {name: field.annotation for name, field in record_type.model_fields.items()}


def _column(name: str, annotation: object) -> Column:
    inner, is_nullable = _strip_optional(annotation)
    scalar = _scalar_type(inner)
    if scalar is not None:
        return Column(name, scalar, is_nullable, is_json=False)
    if get_origin(inner) is tuple:
        element, *rest = get_args(inner)
        scalar = _scalar_type(element)
        if scalar is not None and rest == [...]:
            return Column(name, pa.list_(scalar), is_nullable, is_json=False)
    return Column(name, pa.string(), is_nullable, is_json=True)


def _strip_optional(annotation: object) -> tuple[object, bool]:
    if get_origin(annotation) is Annotated:
        return _strip_optional(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        is_optional = len(members) < len(get_args(annotation))
        if len(members) == 1:
            return members[0], is_optional
        return annotation, is_optional
    return annotation, False


def _scalar_type(annotation: object) -> pa.DataType | None:
    if get_origin(annotation) is Literal:
        return pa.string()
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return pa.string()
    return _SCALARS.get(annotation) if isinstance(annotation, type) else None


def _encode(value: object, *, column: Column) -> object:
    if value is None:
        return None
    if column.is_json:
        return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [entry.value if isinstance(entry, Enum) else entry for entry in value]
    return value


def _plain(value: object) -> object:
    """Turn records inside tuples and mappings into what `json` takes."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value
