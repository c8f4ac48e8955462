"""What SQL over the trajectory database costs: `python benchmarks/store.py [--calls N]`.

Generates Parquet parts of the form that stages write (RL trajectories with five tool calls each),
builds the index from them, and asks. The last line is JSON: rows inserted per second, the per-tool
percentiles, the lineage of one row up and down (medians; `_cold_s` is the first question after
opening), and the same percentiles by pyarrow over the call timings in Parquet, as the yardstick.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agentic_vlm.schema import CheckpointCard, CuratedSample, RawSample, ScoredAnswer, Trajectory
from agentic_vlm.store.columns import arrow_schema
from agentic_vlm.store.database import open_index
from agentic_vlm.store.index import build_index
from agentic_vlm.store.questions import answer

CALLS_PER_EPISODE = 5
EPISODES_PER_SAMPLE = 8
EPISODES_PER_PART = 50_000
SUITE_SIZE = 1_000

_EPISODES = """
with calls as (
    select
        episode,
        turn,
        ['python', 'search', 'image_search'][1 + (hash(episode, turn) % 10 // 4)::integer] as tool,
        hash(turn, episode) % 10 = 0 as is_bad
    from range($first, $last) as episodes (episode), range({calls}) as turns (turn)
),
turns as (
    select episode, list({{
        'text': printf('<think>look</think><code>crop(image_1, %d, %d)</code>', episode, turn),
        'prefill': '',
        'action': {{
            'type': 'tool_call',
            'tool': tool,
            'code': if(tool = 'python', printf('crop(image_1, %d, %d)', episode, turn), ''),
            'arguments_json': if(tool = 'python', '', printf('{{"query": "crest %d"}}', episode))
        }},
        'observation': {{
            'text': if(is_bad, 'NameError: crop', printf('plate %d', episode % 997)),
            'images': []::varchar[],
            'status': if(is_bad, 'error', 'ok'),
            'error_class': if(is_bad, 'NameError', ''),
            'num_dropped_chars': 0
        }},
        'num_tokens': 20
    }} order by turn) as turns
    from calls
    group by episode
)
select
    printf('%016x', episode) as trajectory_id,
    if($stage = 'evaluate', printf('suite-%08d', episode), printf('train-%08d', episode // {group}))
        as sample_id,
    $stage as stage,
    $policy as policy,
    'agent' as mode,
    'deepeyesv2' as protocol,
    episode % {group} as attempt,
    episode % 100000 as seed,
    '' as system,
    'What is on the plate?' as prompt,
    '[]' as images,
    to_json(turns)::varchar as turns,
    'answer' as stop_reason,
    '' as failure,
    '42' as answer,
    if(episode % 3 = 0, 'correct', 'incorrect') as verdict
from turns
order by trajectory_id
"""


def main() -> None:
    """Generate, build, ask, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5_000_000, help="tool calls; 5 million")
    parser.add_argument("--repeats", type=int, default=7, help="questions asked per figure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        root = Path(folder)
        num_episodes = options.calls // CALLS_PER_EPISODE
        _generate(root, num_episodes)
        sys.stdout.write(f"generated {num_episodes} episodes\n")
        index = root / "data" / "trajectories.duckdb"
        start, start_cpu = time.perf_counter(), time.process_time()
        counts = build_index(root, index)
        build_s, build_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
        figures = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "num_calls": counts["tool_calls"],
            "num_rows": sum(counts.values()),
            "build_s": round(build_s, 2),
            "rows_per_s": round(sum(counts.values()) / build_s),
            "build_cpu_s": round(build_cpu_s, 2),
            "index_mb": round(index.stat().st_size / 1e6),
            **_ask(index, num_episodes, repeats=options.repeats),
            **_yardstick(root, repeats=options.repeats),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


def _generate(root: Path, num_episodes: int) -> None:
    connection = duckdb.connect()
    num_samples = -(-num_episodes // EPISODES_PER_SAMPLE)
    _write_samples(connection, root / "data/raw/records", RawSample, num_samples, "train")
    _write_samples(connection, root / "data/curated/records", CuratedSample, num_samples, "train")
    _write_samples(connection, root / "data/suites/pocket/records", RawSample, SUITE_SIZE, "suite")
    probes, scores = root / "data/probes/trajectories", root / "data/scores/rl/trajectories"
    for part, first in enumerate(range(0, num_episodes, EPISODES_PER_PART)):
        last = min(first + EPISODES_PER_PART, num_episodes)
        _write_episodes(connection, probes, part, first, last, stage="train_rl", policy="c-sft")
    _write_episodes(
        connection,
        scores,
        0,
        num_episodes,
        num_episodes + SUITE_SIZE,
        stage="evaluate",
        policy="c-rl",
    )
    _write_scores(connection, root / "data/scores/rl/scores", num_episodes)
    for name, parent, stage in (("sft", "", "train_sft"), ("rl", "c-sft", "train_rl")):
        card = CheckpointCard(
            checkpoint_id=f"c-{name}", stage=stage, parent=parent, architecture="none",
            num_parameters=0, step=1, seed=0,
        )  # fmt: skip
        (root / "models" / name).mkdir(parents=True)
        (root / "models" / name / "card.json").write_text(card.model_dump_json())
    _write_calls(connection, root / "metrics/timings/calls/train_rl.jsonl", num_episodes)


def _write_episodes(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    part: int,
    first: int,
    last: int,
    *,
    stage: str,
    policy: str,
) -> None:
    sql = _EPISODES.format(calls=CALLS_PER_EPISODE, group=EPISODES_PER_SAMPLE)
    values = {"first": first, "last": last, "stage": stage, "policy": policy}
    rows = connection.sql(sql, params=values).to_arrow_table()
    _write(folder, part, rows, arrow_schema(Trajectory))


def _write_samples(
    connection: duckdb.DuckDBPyConnection, folder: Path, kind: type[RawSample], num: int, split: str
) -> None:
    rows = connection.sql(
        """
        select printf('%s-%08d', $split, row) as sample_id, 'bench' as source,
            printf('%s-%d', $split, row) as source_row_id, $split as split,
            'perception' as family, 'tool' as need, '' as template, 0 as difficulty,
            'What is on plate ' || row || '?' as question, '42' as answer, []::varchar[] as aliases,
            'text' as answer_type, '[]' as images, []::varchar[] as flags, '[]' as solution
        from range($num) as rows (row)
        """,
        params={"split": split, "num": num},
    )
    _write(folder, 0, rows.to_arrow_table(), arrow_schema(kind))


def _write_scores(connection: duckdb.DuckDBPyConnection, folder: Path, first: int) -> None:
    rows = connection.sql(
        """
        select 'rl' as model, 'pocket' as suite, 'agent' as mode,
            printf('suite-%08d', row) as sample_id, printf('%016x', row) as trajectory_id,
            'perception' as family, 'tool' as need, 0 as difficulty, []::varchar[] as flags,
            'correct' as verdict, 'text' as rule, '42' as answer, 'answer' as stop_reason,
            5 as num_calls, 1 as num_failed_calls, 100 as num_tokens
        from range($first, $first + $num) as rows (row)
        """,
        params={"first": first, "num": SUITE_SIZE},
    )
    _write(folder, 0, rows.to_arrow_table(), arrow_schema(ScoredAnswer))


def _write_calls(connection: duckdb.DuckDBPyConnection, path: Path, num_episodes: int) -> None:
    path.parent.mkdir(parents=True)
    connection.execute(
        f"""
        copy (
            select printf('%016x', episode) as trajectory_id, turn,
                ['python', 'search', 'image_search'][
                    1 + (hash(episode, turn) % 10 // 4)::integer
                ] as tool,
                round(0.01 + hash(episode, turn, 1) % 1000 / 1000.0, 6)::double as latency_s,
                0.0 as cost_usd
            from range({num_episodes}) as episodes (episode), range({CALLS_PER_EPISODE}) as t (turn)
        ) to '{path}' (format json)
        """
    )


def _write(folder: Path, part: int, rows: pa.Table, schema: pa.Schema) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{part:05d}.parquet"
    typed = rows.select(schema.names).cast(schema)
    pq.write_table(typed, path, compression="zstd", row_group_size=1_000)


def _ask(index: Path, num_episodes: int, *, repeats: int) -> dict[str, float]:
    """Return the median seconds of each question, the first, cold one apart."""
    scored = {"trajectory_id": f"{num_episodes + 7:016x}"}
    questions: dict[str, tuple[str, dict[str, str]]] = {
        "p95_per_tool": ("latency_by_tool", {}),
        "lineage_down": ("lineage_down", {"source": "bench", "row": "train-77"}),
        "lineage_up": ("lineage_up", scored),
        "trajectories_of_sample": ("trajectories_of_sample", {"sample_id": "train-00000077"}),
        "turns_of_trajectory": ("turns_of_trajectory", {"trajectory_id": f"{77:016x}"}),
        "failure_classes": ("failure_classes", {}),
    }
    figures = {}
    for name, (query, values) in questions.items():
        with open_index(index) as connection:
            first, *rest = _costs(
                functools.partial(answer, connection, query, values), repeats=repeats + 1
            )
        figures[f"{name}_s"] = round(statistics.median(cost.wall_s for cost in rest), 4)
        figures[f"{name}_cpu_s"] = round(statistics.median(cost.cpu_s for cost in rest), 4)
        figures[f"{name}_cold_s"] = round(first.wall_s, 4)
    return figures


def _yardstick(root: Path, *, repeats: int) -> dict[str, float]:
    """Return the seconds of pyarrow for the percentiles, over the same rows in one Parquet file."""
    path = root / "calls.parquet"
    with open_index(root / "data" / "trajectories.duckdb") as connection:
        table = connection.sql("select tool, latency_s from call_timings").to_arrow_table()
    pq.write_table(table, path, compression="zstd")

    def percentiles() -> None:
        rows = pq.read_table(path)
        for tool in pc.unique(rows["tool"]):
            pc.quantile(rows.filter(pc.equal(rows["tool"], tool))["latency_s"], q=[0.5, 0.95, 0.99])

    costs = _costs(percentiles, repeats=repeats)
    return {
        "p95_per_tool_pyarrow_s": round(statistics.median(cost.wall_s for cost in costs), 4),
        "p95_per_tool_pyarrow_cpu_s": round(statistics.median(cost.cpu_s for cost in costs), 4),
    }


class _Cost(NamedTuple):
    """Seconds on the clock, and CPU seconds of all threads: the latter count on a busy machine."""

    wall_s: float
    cpu_s: float


def _costs(work: Callable[[], object], *, repeats: int) -> list[_Cost]:
    found = []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        found.append(_Cost(time.perf_counter() - start, time.process_time() - start_cpu))
    return found


if __name__ == "__main__":
    main()
