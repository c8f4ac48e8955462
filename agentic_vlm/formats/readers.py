"""Which adapter reads which format."""

from collections.abc import Callable, Iterator
from pathlib import Path

from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.conversations import iter_conversation_rows
from agentic_vlm.formats.parquet import iter_parquet_rows
from agentic_vlm.formats.plain import iter_csv_rows, iter_jsonl_rows
from agentic_vlm.formats.published import (
    iter_gsm8k_rows,
    iter_math_vision_rows,
    iter_squad_rows,
)
from agentic_vlm.formats.row import Line
from agentic_vlm.formats.verl import iter_verl_rows
from agentic_vlm.formats.vlmevalkit import iter_vlmevalkit_rows

Reader = Callable[[Path, Columns], Iterator[Line]]
"""Yields the rows of a file; a damaged row is a fault in its place, never an exception."""

READERS: dict[str, Reader] = {
    "csv": iter_csv_rows,
    "datasets": iter_parquet_rows,
    "gsm8k": iter_gsm8k_rows,
    "json_lines": iter_jsonl_rows,
    "llama_factory": iter_conversation_rows,
    "math_vision": iter_math_vision_rows,
    "parquet": iter_parquet_rows,
    "squad": iter_squad_rows,
    "verl": iter_verl_rows,
    "vlmevalkit": iter_vlmevalkit_rows,
}
"""By the `type` of a source in params.yaml or data/sources.yaml."""
