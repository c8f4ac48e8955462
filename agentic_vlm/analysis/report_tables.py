"""What the report reads from code and solutions, as Parquet tables, and the queries over them.

SQL cannot read what a call is for or why an answer is wrong. The report writes both down per
episode, so that its tables can be counted again; scores are in the index already.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.errors import diagnose_sample
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
    ]
)
"""One row per graded episode; `error` is why it is wrong, null for right and undecided ones."""
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

_EPISODES = "read_parquet('data/reports/tables/episodes.parquet')"
_STEPS = "read_parquet('data/reports/tables/rl_steps.parquet')"
QUERIES = {
    "calls_by_kind": f"""\
-- What are the calls of each model for, over all and by family?
with calls as (
    select model, family, unnest(kinds) as kind from {_EPISODES}
),
counts as (
    select model, family, kind, count(*) as num_calls from calls group by model, family, kind
    union all
    select model, 'all', kind, count(*) from calls group by model, kind
)
select *, num_calls / sum(num_calls) over (partition by model, family) as share
from counts
order by all;
""",
    "combinations": f"""\
-- Which calls follow each other in an answer, how often, and how do such answers end?
select model, kinds, count(*) as num_answers, avg((verdict = 'correct')::integer) as right_share
from {_EPISODES}
group by model, kinds
order by model, num_answers desc, kinds;
""",
    "left_out": f"""\
-- Which share of the episodes of each model has no verdict, by number of calls?
select
    model,
    least(num_calls, 5) as calls,
    count(*) as num_episodes,
    avg((verdict = 'ungraded')::integer) as left_out_share,
    count(*) filter (stop_reason = 'infrastructure') as num_outages
from {_EPISODES}
group by model, least(num_calls, 5)
order by all;
""",
    "errors": f"""\
-- Why are the answers of each model wrong?
select
    model,
    error,
    count(*) as num_answers,
    count(*) / sum(count(*)) over (partition by model) as share
from {_EPISODES}
where error is not null
group by model, error
order by all;
""",
    "changes": f"""\
-- What does RL newly solve and newly break, by family?
select
    after.family,
    count(*) filter (before.verdict <> 'correct' and after.verdict = 'correct') as newly_solved,
    count(*) filter (before.verdict = 'correct' and after.verdict <> 'correct') as newly_broken
from (from {_EPISODES} where model = 'rl') as after
join (from {_EPISODES} where model = 'sft') as before using (sample_id)
group by after.family
order by after.family;
""",
    "rl_steps": f"""\
-- How did RL go, by family and step?
select * from {_STEPS}
order by family, step;
""",
}
"""Queries over the tables by name, to be run from the root of the project."""


def write_report_tables(
    trajectories: Mapping[str, Sequence[Trajectory]],
    samples: Mapping[str, RawSample],
    curves: Mapping[str, Sequence[StepFigures]],
    folder: Path,
) -> None:
    """Write tables and queries into the folder of the report; equal content gives equal bytes.

    Args:
        trajectories: graded episodes by model, as named in the summary.
        samples: samples of the suites by id; episodes of others have neither family nor error.
        curves: RL by family, `all` for all of them.
        folder: that of the report.
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
    for name, rows, schema in (("episodes", episodes, EPISODES), ("rl_steps", steps, STEPS)):
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / "tables" / f"{name}.parquet", compression="zstd")
    for name, text in QUERIES.items():
        (folder / "queries" / f"{name}.sql").write_text(text, encoding="utf-8")


def _episode(model: str, episode: Trajectory, sample: RawSample | None) -> dict[str, object]:
    error = None if sample is None else diagnose_sample(episode, sample)
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
    }
