"""How long tool calls took and what they cost: facts of one run, kept apart from the trajectories.

While a stage runs, every finished episode appends its calls to
`metrics/timings/calls/<run>.jsonl`, which git and DVC do not see; `index` gathers them.
"""

import io
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from agentic_vlm.errors import RecordError

LATENCY_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("trajectory_id", pa.string(), nullable=False),
        pa.field("turn", pa.int64(), nullable=False),
        pa.field("tool", pa.string(), nullable=False),
        pa.field("latency_s", pa.float64(), nullable=False),
        pa.field("cost_usd", pa.float64(), nullable=False),
    ]
)
_FIELDS = ("trajectory_id", "turn", "tool", "latency_s", "cost_usd")
_LINE_SCHEMA = pa.schema([LATENCY_SCHEMA.field(name).with_nullable(True) for name in _FIELDS])

_logs: list[Path | None] = []
"""The open logs, the innermost last; shared by all threads, since episodes run in their own."""
_lock = threading.Lock()


class Latency(NamedTuple):
    """How long one call took and what it cost."""

    turn: int
    """Number of the turn, from 0."""
    tool: str
    """Name as called."""
    latency_s: float
    """Wall-clock seconds."""
    cost_usd: float = 0.0
    """What services on the network charge for it, US dollars."""


@contextmanager
def logging_latencies(scratch: Path, *, is_dry: bool = False) -> Iterator[None]:
    """Log the calls of the block for the run whose scratch folder is `.scratch/<run>`.

    Where that folder exists the run is resumed: what it logged before it was interrupted stays.
    The log is made with its first call, so that stages without tools leave none.

    Args:
        scratch: the folder; its name is that of the run, and it lies two levels below the root.
        is_dry: log nothing.
    """
    path = calls_folder(scratch.parents[1]) / f"{scratch.name}.jsonl"
    if not is_dry and path.exists():
        content = path.read_bytes() if scratch.exists() else b""
        path.write_bytes(_whole_lines(content))
    with _lock:
        _logs.append(None if is_dry else path)
    try:
        yield
    finally:
        with _lock:
            _logs.pop()


def calls_folder(root: Path) -> Path:
    """Return where the logs of a project lie."""
    return root / "metrics" / "timings" / "calls"


def log_latencies(trajectory_id: str, calls: Iterable[Latency]) -> None:
    """Append the calls of a finished episode to the open log; without one nothing happens."""
    lines = "".join(
        json.dumps(
            {
                "trajectory_id": trajectory_id,
                "turn": call.turn,
                "tool": call.tool,
                "latency_s": round(call.latency_s, 6),
                "cost_usd": round(call.cost_usd, 9),
            }
        )
        + "\n"
        for call in calls
    )
    with _lock:
        path = _logs[-1] if _logs else None
        if not lines or path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write, so that a crash cuts the last line at most.
        with path.open("ab", buffering=0) as log:
            log.write(lines.encode())


def read_latencies(path: Path) -> pa.Table:
    """Read a log; a last line that a crash or a running writer cut short is left out.

    Raises:
        RecordError: a line is not of the form that `log_latencies` writes.
    """
    content = _whole_lines(path.read_bytes())
    if not content:
        return LATENCY_SCHEMA.empty_table()
    try:
        options = pj.ParseOptions(explicit_schema=_LINE_SCHEMA, unexpected_field_behavior="error")
        table = pj.read_json(io.BytesIO(content), parse_options=options)
        columns = {
            "run": pa.repeat(path.stem, table.num_rows),
            "line": pa.array(np.arange(table.num_rows)),
            **{name: table[name].combine_chunks() for name in _FIELDS},
        }
        # A log may hold no prices; what it holds besides is not lost for that.
        columns["cost_usd"] = pc.fill_null(columns["cost_usd"], 0.0)
        return pa.table(columns).cast(LATENCY_SCHEMA)
    except ValueError as fault:
        fix = "delete it; it holds seconds and costs only, and the next run writes it again"
        raise RecordError(str(path), str(fault).splitlines()[0], fix) from fault


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
