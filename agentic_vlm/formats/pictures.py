"""Pictures as published files hold them: bytes in a struct, base64 text, or a path."""

import base64
import binascii
import re

from agentic_vlm.formats.row import FaultKind, RowFault

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_MAX_PATH_CHARS = 1024


def decode_base64(text: str, field: str) -> bytes:
    """Return the bytes of base64 text, with or without the prefix of a data URI.

    Raises:
        RowFault: it is no base64.
    """
    match = _DATA_URI.match(text)
    body = text[match.end() :] if match else text
    try:
        found = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as fault:
        raise RowFault(field, f"no base64: {fault}", FaultKind.PICTURE) from fault
    if not found:
        raise RowFault(field, "no base64: empty", FaultKind.PICTURE)
    return found


def picture_of(value: object, field: str) -> bytes | str:
    """Return a picture cell as bytes, or as a path below the folder of pictures.

    Hugging Face image structs hold `bytes`, `path` or both; the bytes win. Text is a path if it
    looks like one, else base64.

    Raises:
        RowFault: the cell holds no picture.
    """
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            return picture_of(value["bytes"], field)
        if value.get("path"):
            return picture_of(value["path"], field)
        raise RowFault(field, "neither bytes nor a path", FaultKind.PICTURE)
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        if len(value) <= _MAX_PATH_CHARS and re.search(r"\.[A-Za-z0-9]{2,5}$", value):
            return value
        return decode_base64(value, field)
    raise RowFault(field, f"a {type(value).__name__}, not a picture", FaultKind.PICTURE)


def pictures_of(value: object, field: str) -> tuple[bytes | str, ...]:
    """Return all pictures of a cell: none, one, or a list of them.

    Raises:
        RowFault: an entry holds no picture.
    """
    if value is None or value == "":
        return ()
    if isinstance(value, list | tuple):
        return tuple(picture_of(entry, field) for entry in value)
    return (picture_of(value, field),)
