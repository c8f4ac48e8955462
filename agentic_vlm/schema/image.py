"""ImageRef: a picture by content hash. Bytes never sit in a row; they live in an ImageStore."""

from pydantic import Field

from agentic_vlm.schema.record import Record


class ImageRef(Record):
    """A picture, named by the digest of its encoded bytes."""

    sha256: str = Field(min_length=64, max_length=64)
    """Hex digest of the encoded file, exactly as stored."""
    width_px: int = Field(gt=0)
    """Width at original resolution, in pixels."""
    height_px: int = Field(gt=0)
    """Height at original resolution, in pixels."""
    media_type: str = "image/png"
    """Media type of the encoded bytes."""
