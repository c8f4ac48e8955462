"""allocate: CuratedSample + Probe -> the pools for cold start and RL."""

from collections import Counter
from collections.abc import Sequence

from agentic_vlm.curation.allocation import TOOL_OPTIONAL, allocate
from agentic_vlm.schema import CuratedSample, Probe, Rejection
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import iter_records, write_records

STAGE = Stage(
    name="allocate",
    doc="Drop what the base can do; what tools solve goes to RL, the rest to the cold start.",
    reads=("data/curated", "data/probes"),
    writes=("data/pools",),
)


def run(context: StageContext) -> StageReport:
    """Write data/pools/{sft,rl}/records and data/pools/rejections."""
    curated = context.read_from("data/curated") / "records"
    samples = list(context.limited(iter_records(curated, CuratedSample)))
    probes = context.read_from("data/probes") / "records"
    pools = allocate(
        samples,
        iter_records(probes, Probe),
        num_attempts=context.params.probe.num_attempts,
        params=context.params.allocate,
    )
    folder = context.write_to("data/pools")
    for name, rows in (("sft", pools.sft), ("rl", pools.rl)):
        write_records(
            folder / name / "records", rows, CuratedSample, key=lambda row: (row.sample_id,)
        )
    write_records(folder / "rejections", pools.rejections, Rejection, key=lambda row: (row.row_id,))
    return StageReport(
        num_in=len(samples),
        num_out=len(pools.sft) + len(pools.rl),
        left_out=Counter(row.reason.value for row in pools.rejections),
        summary={
            "sft": _count(pools.sft),
            "rl": _count(pools.rl),
            "num_tool_optional": {
                name: sum(TOOL_OPTIONAL in row.flags for row in rows)
                for name, rows in (("sft", pools.sft), ("rl", pools.rl))
            },
            "num_easy_in_rl": pools.num_easy,
            "num_easy_in_sft": pools.num_sft_easy,
            "num_unsolved_in_rl": pools.num_unsolved,
        },
    )


def _count(samples: Sequence[CuratedSample]) -> dict[str, int]:
    """Return the number of samples by family and need."""
    kinds = (f"{row.family}/{row.need.value if row.need else 'any'}" for row in samples)
    return dict(sorted(Counter(kinds).items()))


if __name__ == "__main__":
    STAGE.main(run)
