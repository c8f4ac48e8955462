"""The tables of a grid: all that the page of findings is made from, as three Parquet files.

`experiments` has a row per experiment, `answers` one per scored answer, `rl_steps` one per step of
RL, for all rollouts (family `all`) and for each family. The page can be made from them alone, and
each of its numbers stands in a query over them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.findings import GridRun
from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.schema import ScoredAnswer
from agentic_vlm.store.columns import arrow_schema, columns_of, decode_row, to_table

_NAMED = [("experiment", pa.string()), ("seed", pa.int64()), ("variant", pa.string())]
_ALL = "all"
_EXPERIMENTS = pa.schema(
    [
        *_NAMED,
        ("overrides", pa.list_(pa.string())),
        ("has_result", pa.bool_()),
        ("revision", pa.string()),
        ("num_bootstrap", pa.int64()),
    ]
)
_ANSWERS = pa.schema(
    [
        *_NAMED,
        ("arm", pa.string()),
        ("kinds", pa.list_(pa.string())),
        *arrow_schema(ScoredAnswer).remove_metadata(),
    ]
)
_FIGURES = [name for name in StepFigures._fields if name not in ("step", "num_rollouts", "kinds")]
_STEPS = pa.schema(
    [
        *_NAMED,
        ("family", pa.string()),
        ("step", pa.int64()),
        ("num_rollouts", pa.int64()),
        *((name, pa.float64()) for name in _FIGURES),
        ("kinds", pa.map_(pa.string(), pa.float64())),
    ]
)


@dataclass(frozen=True, slots=True)
class Planned:
    """An experiment that was asked for."""

    name: str
    seed: int
    variant: str
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid with its results so far."""

    revision: str
    """Commit that was run."""
    num_bootstrap: int
    """Resamples of an interval."""
    planned: tuple[Planned, ...]
    """All experiments that were asked for, in order."""
    runs: tuple[GridRun, ...]
    """Those with a result, in the same order."""
    curves: Mapping[str, Sequence[StepFigures]]
    """RL by name of the experiment."""
    families: Mapping[str, Mapping[str, Sequence[StepFigures]]] = field(default_factory=dict)
    """The same by family of the question."""


def write_grid(grid: Grid, folder: Path) -> None:
    """Write the tables; equal content gives equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    ran = {run.name for run in grid.runs}
    experiments = [
        {
            **{"experiment": one.name, "seed": one.seed, "variant": one.variant},
            **{"overrides": list(one.overrides), "has_result": one.name in ran},
            **{"revision": grid.revision, "num_bootstrap": grid.num_bootstrap},
        }
        for one in grid.planned
    ]
    steps = [
        {
            **{**_name(run), "family": family},
            **{**figures._asdict(), "kinds": list(figures.kinds.items())},
        }
        for run in grid.runs
        for family, own in {
            _ALL: grid.curves.get(run.name, ()),
            **grid.families.get(run.name, {}),
        }.items()
        for figures in own
    ]
    answers = [_answers(run, arm, rows) for run in grid.runs for arm, rows in run.columns.items()]
    tables = {
        "experiments": pa.Table.from_pylist(experiments, schema=_EXPERIMENTS),
        "rl_steps": pa.Table.from_pylist(steps, schema=_STEPS),
        "answers": pa.concat_tables([_ANSWERS.empty_table(), *answers]),
    }
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def read_grid_tables(folder: Path) -> Grid:
    """Read the tables.

    Raises:
        ArtifactMissing: one is missing.
        RecordError: one has another form, or holds no experiment.
    """
    experiments, answers, steps = (
        _read(folder / f"{name}.parquet", schema)
        for name, schema in (
            ("experiments", _EXPERIMENTS),
            ("answers", _ANSWERS),
            ("rl_steps", _STEPS),
        )
    )
    rows = experiments.to_pylist()
    if not rows:
        raise RecordError(str(folder / "experiments.parquet"), "no experiment in it", _AGAIN)
    planned = tuple(
        Planned(row["experiment"], row["seed"], row["variant"], tuple(row["overrides"]))
        for row in rows
    )
    known = {row["experiment"] for row in rows if row["has_result"]}
    curves: dict[str, list[StepFigures]] = {name: [] for name in known}
    families: dict[str, dict[str, list[StepFigures]]] = {}
    for row in steps.to_pylist():
        name, family = row["experiment"], row["family"]
        own = curves if family == _ALL else families.setdefault(name, {})
        own.setdefault(name if family == _ALL else family, []).append(_figures(row))
    results = _runs(answers, folder / "answers.parquet")
    runs = tuple(
        results.get(one.name, GridRun(one.name, one.seed, one.variant, {}))
        for one in planned
        if one.name in known
    )
    first = rows[0]
    return Grid(first["revision"], first["num_bootstrap"], planned, runs, curves, families)


_AGAIN = "`python -m flows.findings --report` writes the tables again"


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    if not path.exists():
        raise ArtifactMissing(str(path), "no table of findings", _AGAIN)
    try:
        table = pq.read_table(path)
    except pa.ArrowException as fault:
        raise RecordError(str(path), str(fault).splitlines()[0], _AGAIN) from fault
    if not table.schema.equals(schema):
        raise RecordError(str(path), "its columns are those of another version", _AGAIN)
    return table


def _name(run: GridRun) -> dict[str, object]:
    return {"experiment": run.name, "seed": run.seed, "variant": run.variant}


def _answers(run: GridRun, arm: str, rows: Sequence[ScoredAnswer]) -> pa.Table:
    table = to_table(rows, ScoredAnswer, where=run.name).replace_schema_metadata(None)
    kinds = [[kind.value for kind in run.kinds.get(row.trajectory_id, ())] for row in rows]
    named = {**_name(run), "arm": arm}
    head = {name: pa.array([value] * len(rows)) for name, value in named.items()}
    columns = {**head, "kinds": kinds, **{name: table[name] for name in table.column_names}}
    return pa.table(columns).cast(_ANSWERS)


def _runs(answers: pa.Table, path: Path) -> dict[str, GridRun]:
    """Return the results by name of the experiment."""
    columns: dict[str, dict[str, list[ScoredAnswer]]] = {}
    kinds: dict[str, dict[str, tuple[CallKind, ...]]] = {}
    names: dict[str, tuple[int, str]] = {}
    for row, score in _scores(answers.to_pylist(), path):
        name, found = str(row["experiment"]), row["kinds"]
        names[name] = (row["seed"], row["variant"])
        columns.setdefault(name, {}).setdefault(str(row["arm"]), []).append(score)
        own = kinds.setdefault(name, {})
        if found:
            own[score.trajectory_id] = tuple(CallKind(kind) for kind in found)
    return {
        name: GridRun(name, seed, variant, columns[name], kinds[name])
        for name, (seed, variant) in names.items()
    }


def _scores(
    rows: Iterable[dict[str, Any]], path: Path
) -> Iterator[tuple[dict[str, Any], ScoredAnswer]]:
    columns = columns_of(ScoredAnswer)
    for number, row in enumerate(rows):
        try:
            fields = decode_row({column.name: row[column.name] for column in columns}, columns)
            yield row, ScoredAnswer.model_validate(fields)
        except (ValidationError, json.JSONDecodeError) as fault:
            what = str(fault).splitlines()[0]
            raise RecordError(f"{path}, row {number}", what, _AGAIN) from fault


def _figures(row: dict[str, Any]) -> StepFigures:
    figures = {name: row[name] for name in ("step", "num_rollouts", *_FIGURES)}
    kinds = {CallKind(kind): share for kind, share in row["kinds"]}
    return StepFigures(**figures, kinds=kinds)
