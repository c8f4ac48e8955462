"""What stages and trajectories cost: `python -m agentic_vlm.analysis.ledger`.

Seconds come from metrics/timings, work from the Parquet parts, prices from what the tools, the
judge and the teachers booked. A stage that DVC took from its cache cost this machine nothing and
shows its work alone.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from agentic_vlm.errors import AgenticError, RecordError
from agentic_vlm.params import JudgeOptions, load_params
from agentic_vlm.store.forms import FORMS, write_answer
from agentic_vlm.store.query import run_live_query
from agentic_vlm.store.questions import Answer

_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a stage cost, or several of them together."""

    run: str
    """Stage, with the member of its matrix: evaluate-base."""
    wall_s: float = 0.0
    """Seconds on the clock."""
    cpu_s: float = 0.0
    """CPU seconds, children included."""
    gpu_s: float = 0.0
    """Seconds on the clock times GPUs held; those of a model server are the server's."""
    num_episodes: int = 0
    num_tokens: int = 0
    """Tokens that the policy wrote."""
    num_calls: int = 0
    num_searches: int = 0
    """Calls of any tool but code."""
    tool_s: float = 0.0
    """Seconds that calls took, each by itself: more than the clock shows where they overlap."""
    search_usd: float = 0.0
    num_judge_calls: int = 0
    """Requests to the judge; known verdicts cost nothing."""
    judge_usd: float = 0.0
    """Its tokens at the prices of params.yaml, in their currency."""
    num_teacher_calls: int = 0
    teacher_usd: float = 0.0

    @property
    def usd(self) -> float:
        """All that was paid for."""
        return self.search_usd + self.judge_usd + self.teacher_usd

    @classmethod
    def total(cls, run: str, parts: Iterable["Cost"]) -> Self:
        """Return the sum under a name.

        >>> Cost.total("all", [Cost("a", wall_s=1.0), Cost("b", wall_s=2.0)]).wall_s
        3.0
        """
        rows = list(parts)
        names = [field.name for field in fields(cls) if field.name != "run"]
        return cls(run, **{name: sum(getattr(row, name) for row in rows) for name in names})


def read_costs(root: Path) -> list[Cost]:
    """Return what each run of a stage under a root cost, in the order in which they ran.

    Raises:
        ArtifactMissing: there is no project.
        ParamsError: params.yaml has faults.
        RecordError: a part, a log or a summary of a stage is damaged.
    """
    judge = load_params(root / "params.yaml").grading.judge_options
    answer = run_live_query("cost_by_stage", root=root)
    found = []
    for row in answer.rows:
        cells = dict(zip(answer.columns, row, strict=True))
        run = str(cells["run"])
        summary = _read_summary(root, run)
        num_judge_calls, judge_usd = _judge_costs(summary, judge)
        num_teacher_calls, teacher_usd = _teacher_costs(summary)
        found.append(
            Cost(
                run,
                wall_s=_number(cells["wall_s"]),
                cpu_s=_number(cells["cpu_s"]),
                gpu_s=_number(cells["gpu_s"]),
                num_episodes=int(_number(cells["num_episodes"])),
                num_tokens=int(_number(cells["num_tokens"])),
                num_calls=int(_number(cells["num_calls"])),
                num_searches=int(_number(cells["num_searches"])),
                tool_s=_number(cells["tool_s"]),
                search_usd=_number(cells["tool_usd"]),
                num_judge_calls=num_judge_calls,
                judge_usd=judge_usd,
                num_teacher_calls=num_teacher_calls,
                teacher_usd=teacher_usd,
            )
        )
    return found


def costs_as_answer(costs: Sequence[Cost]) -> Answer:
    """Return the rows with their sum below them."""
    rows = [*costs, Cost.total("all", costs)]
    columns = [field.name for field in fields(Cost)] + ["usd"]
    return Answer(
        columns, [(*map(_shown, asdict(row).values()), round(row.usd, 6)) for row in rows]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the ledger and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.trajectories:
            values = {"stage": options.trajectories}
            found = run_live_query("cost_by_trajectory", root=options.root, values=values)
        else:
            found = costs_as_answer(read_costs(options.root))
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    write_answer(found, sys.stdout, form=options.form)
    return 0


def _read_summary(root: Path, run: str) -> Mapping[str, object]:
    """Return what a stage says of its run, where the judge and the teachers are booked."""
    stage, _, member = run.partition("-")
    path = root / "metrics" / (f"{stage}/{member}.json" if member else f"{stage}.json")
    if not path.exists():
        return {}
    try:
        content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise RecordError(str(path), f"no JSON: {fault}", f"rerun the stage {stage}") from fault
    return content


def _judge_costs(summary: Mapping[str, object], prices: JudgeOptions) -> tuple[int, float]:
    """Return the requests to the judge and what they cost."""
    counts = summary.get("judge")
    if not isinstance(counts, Mapping):
        return 0, 0.0
    sent = _number(counts.get("num_prompt_tokens")) * prices.price_per_million_in
    written = _number(counts.get("num_reply_tokens")) * prices.price_per_million_out
    return int(_number(counts.get("num_calls"))), (sent + written) / _MILLION


def _teacher_costs(summary: Mapping[str, object]) -> tuple[int, float]:
    """Return the requests to the teachers and what they cost."""
    usage = summary.get("usage")
    if not isinstance(usage, Mapping):
        return 0, 0.0
    bills = list(_mappings(usage.values()))
    num_calls = sum(int(_number(bill.get("num_requests"))) for bill in bills)
    return num_calls, sum(_number(bill.get("usd")) for bill in bills)


def _mappings(values: Iterable[object]) -> Iterator[Mapping[str, object]]:
    return (value for value in values if isinstance(value, Mapping))


def _number(value: object) -> float:
    """Return a number as DuckDB or JSON gives it; 0 where there is none."""
    return 0.0 if value is None else float(str(value))


def _shown(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.analysis.ledger",
        description="What each stage cost: seconds, CPU and GPU seconds, tokens, calls, money.",
        epilog="Example: python -m agentic_vlm.analysis.ledger --trajectories evaluate --csv",
    )
    parser.add_argument(
        "--trajectories", metavar="STAGE", help="one row per episode of a stage; %% for all"
    )
    for form in FORMS:
        parser.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.set_defaults(form="table")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
