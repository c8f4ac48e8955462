"""index: every Parquet folder -> data/trajectories.duckdb, for questions in SQL."""

from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store.index import VOLATILE_TABLES, build_index

STAGE = Stage(
    name="index",
    doc="Gather all rows in one DuckDB file for questions in SQL; nothing depends on it.",
    reads=(
        "data/raw",
        "data/suites",
        "data/curated",
        "data/probes",
        "data/pools",
        "data/trajectories",
        "data/sft",
        "data/rollouts",
        "data/scores",
        "models/base/card.json",
        "models/sft/card.json",
        "models/rl/card.json",
    ),
    writes=("data/trajectories.duckdb",),
    keeps_books=False,
)


def run(context: StageContext) -> StageReport:
    """Build the index anew; folders that a recipe does not write leave their tables empty."""
    counts = build_index(context.root, context.write_to("data/trajectories.duckdb"))
    # The report is a function of the inputs; which of these rows there are is not.
    tables = {name: count for name, count in counts.items() if name not in VOLATILE_TABLES}
    num_rows = sum(tables.values())
    return StageReport(num_in=num_rows, num_out=num_rows, summary={"tables": tables})


if __name__ == "__main__":
    STAGE.main(run)
