"""synthesize: the cold-start pool -> teacher Trajectory. Tools are really executed."""

import asyncio
from collections import Counter

from agentic_vlm.agent.runtime import open_kit
from agentic_vlm.schema import CuratedSample, Trajectory
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, iter_records, write_records
from agentic_vlm.synthesis.synthesize import SynthesisWork, build_teacher, write_trajectories

STAGE = Stage(
    name="synthesize",
    doc="Let the teacher solve the cold-start pool through the real loop and the real tools.",
    reads=("data/pools/sft", "data/raw", "data/corpus"),
    writes=("data/trajectories",),
)


def run(context: StageContext) -> StageReport:
    """Write data/trajectories/{records,images}."""
    pool = context.read_from("data/pools/sft") / "records"
    samples = list(context.limited(iter_records(pool, CuratedSample)))
    folder = context.write_to("data/trajectories")
    work = SynthesisWork(context.scratch, folder / "images")
    with context.timed("episodes"):
        asyncio.run(_run(context, samples, work))
    rows = list(work.trajectories)
    write_records(folder / "records", rows, Trajectory, key=lambda row: (row.trajectory_id,))
    observations = [turn.observation for row in rows for turn in row.turns]
    work.images.close(keep={ref.sha256 for seen in observations if seen for ref in seen.images})
    return StageReport(
        num_in=len(samples) * context.params.synthesize.num_attempts,
        num_out=len(rows),
        summary={
            "stop_reasons": dict(sorted(Counter(row.stop_reason.value for row in rows).items())),
            "num_calls": sum(row.num_calls for row in rows),
            "num_failed_calls": sum(row.num_failed_calls for row in rows),
        },
    )


async def _run(context: StageContext, samples: list[CuratedSample], work: SynthesisWork) -> None:
    store = ImageStore.open(context.read_from("data/raw") / "images")
    params = context.params
    teacher, temperature = build_teacher(params, samples)
    total = len(samples) * params.synthesize.num_attempts
    async with open_kit(params, corpus=context.read_from("data/corpus")) as kit:
        try:
            with context.progress("trajectories", total=total) as progress:
                await write_trajectories(
                    samples,
                    teacher=teacher,
                    temperature=temperature,
                    kit=kit,
                    store=store,
                    work=work,
                    params=params,
                    on_done=progress.advance,
                )
        finally:
            await teacher.close()


if __name__ == "__main__":
    STAGE.main(run)
