"""How many rows each stage wrote and rejected, counted in the folders that exist."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agentic_vlm.schema import Probe, Rejection
from agentic_vlm.store import iter_records
from agentic_vlm.store.datasets import open_part
from agentic_vlm.store.folders import list_parts


class FlowRow(NamedTuple):
    """What one stage wrote."""

    stage: str
    what: str
    """What its rows are."""
    num_rows: int | None
    """Rows written; absent where the stage was not run."""
    left_out: Mapping[str, int]
    """Rows not passed on, by reason."""


class _Place(NamedTuple):
    stage: str
    what: str
    records: str
    rejections: str = ""


_PLACES = (
    _Place("ingest", "samples", "raw/records", "raw/rejections"),
    _Place("curate", "samples with a checkable answer", "curated/records", "curated/rejections"),
    _Place("probe", "attempts of the base", "probes/records"),
    _Place("allocate", "samples for the cold start", "pools/sft/records", "pools/rejections"),
    _Place("allocate", "samples for RL", "pools/rl/records"),
    _Place("synthesize", "teacher trajectories", "trajectories/records"),
    _Place("select_sft", "trajectories to learn from", "sft/records", "sft/rejections"),
    _Place("train_rl", "rollouts", "rollouts/records"),
)


def count_flow(data: Path) -> list[FlowRow]:
    """Return one row per output of the stages, in the order of the flow."""
    rows = []
    for place in _PLACES:
        left_out = Counter[str]()
        num_rows = _count_rows(data / place.records)
        if place.rejections and (data / place.rejections).exists():
            rejections = iter_records(data / place.rejections, Rejection)
            left_out.update(rejection.reason.value for rejection in rejections)
        if place.stage == "probe" and num_rows is not None:
            probes = iter_records(data / place.records, Probe)
            left_out["not_needed"] = sum(not probe.is_needed for probe in probes)
            num_rows -= left_out["not_needed"]
        rows.append(FlowRow(place.stage, place.what, num_rows, dict(sorted(left_out.items()))))
    return rows


def _count_rows(folder: Path) -> int | None:
    if not folder.exists():
        return None
    num_rows = 0
    for path in list_parts(folder):
        with open_part(path) as part:
            num_rows += int(part.metadata.num_rows)
    return num_rows
