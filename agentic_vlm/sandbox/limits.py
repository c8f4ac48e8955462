"""Limits of a kernel: the part of the params that travels to it."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from agentic_vlm.params.parts import SandboxParams


@dataclass(frozen=True, slots=True)
class Limits:
    """What one kernel may use; see `SandboxParams` for units and meaning."""

    cell_cpu_s: float
    cell_wall_s: float
    session_cpu_s: float
    memory_mb: int
    file_mb: int
    box_mb: int
    max_box_files: int
    max_threads: int
    max_open_files: int
    max_output_chars: int
    max_value_chars: int
    max_images_per_cell: int
    max_images_per_session: int
    max_image_pixels: int

    @classmethod
    def from_params(cls, params: "SandboxParams") -> Self:
        """Take the limits out of the section `sandbox`."""
        return cls(**{field.name: getattr(params, field.name) for field in fields(cls)})
