"""Limits of a kernel: the part of the params that travels to it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one kernel may use; see `SandboxParams` for units and meaning."""

    cell_cpu_s: float
    session_cpu_s: float
    memory_mb: int
    file_mb: int
    max_output_chars: int
    max_value_chars: int
    max_images_per_cell: int
    max_image_pixels: int
