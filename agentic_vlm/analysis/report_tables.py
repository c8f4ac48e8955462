"""What the report reads from code, solutions and rules of benchmarks, as Parquet tables.

SQL cannot read what a call is for, why an answer is wrong, or by which rule a benchmark averages.
The report writes these down, so that its tables can be counted again by the queries beside it;
scores are in the index already.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.error_tables import count_evident_crops
from agentic_vlm.analysis.errors import diagnose_sample
from agentic_vlm.analysis.report_queries import QUERIES
from agentic_vlm.analysis.tool_use import kinds_of
from agentic_vlm.schema import RawSample, Trajectory

EPISODES = pa.schema(
    [
        ("model", pa.string()),
        ("trajectory_id", pa.string()),
        ("sample_id", pa.string()),
        ("mode", pa.string()),
        ("family", pa.string()),
        ("verdict", pa.string()),
        ("stop_reason", pa.string()),
        ("num_calls", pa.int64()),
        ("kinds", pa.list_(pa.string())),
        ("error", pa.string()),
        ("num_crops", pa.int64()),
        ("num_evident_crops", pa.int64()),
    ]
)
"""One row per graded episode; `error` is why it is wrong, null for right and undecided ones. Crops
are counted where it is known what there is to see; `num_evident_crops` show it."""
_FIGURES = [name for name in StepFigures._fields if name not in ("step", "num_rollouts", "kinds")]
STEPS = pa.schema(
    [
        ("family", pa.string()),
        ("step", pa.int64()),
        ("num_rollouts", pa.int64()),
        *((name, pa.float64()) for name in _FIGURES),
        ("kinds", pa.map_(pa.string(), pa.float64())),
    ]
)
"""One row per step of RL and family; family `all` is all of them."""


class BenchmarkFigure(NamedTuple):
    """A figure of a benchmark for a model, by the rule of the benchmark; shares from 0 to 1."""

    model: str
    """As named in the summary."""
    suite: str
    position: int
    """Place among the figures of the benchmark, from 0."""
    name: str
    mean: float | None
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    n: int
    """Independent units behind it."""
    num_ungraded: int
    lowest: float | None
    """If every answer without a verdict were wrong."""
    highest: float | None
    """If every one were right."""


BENCHMARKS = pa.schema(
    [
        ("model", pa.string()),
        ("suite", pa.string()),
        ("position", pa.int64()),
        ("name", pa.string()),
        *((name, pa.float64()) for name in ("mean", "low", "high")),
        ("n", pa.int64()),
        ("num_ungraded", pa.int64()),
        *((name, pa.float64()) for name in ("lowest", "highest")),
    ]
)
"""One row per figure of `BenchmarkFigure`."""


def write_report_tables(
    trajectories: Mapping[str, Sequence[Trajectory]],
    samples: Mapping[str, RawSample],
    curves: Mapping[str, Sequence[StepFigures]],
    folder: Path,
    *,
    benchmarks: Sequence[BenchmarkFigure] = (),
    queries: frozenset[str] = frozenset(QUERIES),
) -> None:
    """Write tables and queries into the folder of the report; equal content gives equal bytes.

    Args:
        trajectories: graded episodes by model, as named in the summary.
        samples: samples of the suites by id; episodes of others have neither family nor error.
        curves: RL by family, `all` for all of them.
        folder: that of the report.
        benchmarks: figures of benchmarks.
        queries: names of those that the report names.
    """
    for name in ("tables", "queries"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    episodes = [
        _episode(model, episode, samples.get(episode.sample_id))
        for model, own in trajectories.items()
        for episode in own
    ]
    steps = [
        {**figures._asdict(), "family": family, "kinds": list(figures.kinds.items())}
        for family, own in curves.items()
        for figures in own
    ]
    figures_told = [figure._asdict() for figure in benchmarks]
    for name, rows, schema in (
        ("episodes", episodes, EPISODES),
        ("rl_steps", steps, STEPS),
        ("benchmarks", figures_told, BENCHMARKS),
    ):
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / "tables" / f"{name}.parquet", compression="zstd")
    for name in sorted(queries):
        (folder / "queries" / f"{name}.sql").write_text(QUERIES[name], encoding="utf-8")


def _episode(model: str, episode: Trajectory, sample: RawSample | None) -> dict[str, object]:
    error = None if sample is None else diagnose_sample(episode, sample)
    crops = count_evident_crops(episode, sample)
    return {
        "model": model,
        "trajectory_id": episode.trajectory_id,
        "sample_id": episode.sample_id,
        "mode": str(episode.mode),
        "family": None if sample is None else sample.family,
        "verdict": None if episode.verdict is None else episode.verdict.value,
        "stop_reason": episode.stop_reason.value,
        "num_calls": episode.num_calls,
        "kinds": [kind.value for kind in kinds_of(episode)],
        "error": None if error is None else error.value,
        "num_crops": None if crops is None else crops[0],
        "num_evident_crops": None if crops is None else crops[1],
    }
