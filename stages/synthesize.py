"""synthesize: the cold-start pool -> teacher Trajectory. Tools are really executed."""

import asyncio
import logging
from collections import Counter

from agentic_vlm.agent.runtime import open_kit
from agentic_vlm.params import ImportedTeacher
from agentic_vlm.schema import CuratedSample, Trajectory
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, iter_records, write_records
from agentic_vlm.synthesis.crew import build_crew
from agentic_vlm.synthesis.imports import ImportFault, iter_imported
from agentic_vlm.synthesis.synthesize import SynthesisWork, write_trajectories

logger = logging.getLogger(__name__)

_ROWS_PER_PART = 500

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
    teacher = context.params.synthesize.teacher
    usage: dict[str, object] = {}
    num_in = len(samples) * context.params.synthesize.num_attempts
    left_out: Counter[str] = Counter()
    with context.timed("episodes"):
        if isinstance(teacher, ImportedTeacher):
            left_out = _import(context, teacher, samples, work)
            rows = list({row.trajectory_id: row for row in work.trajectories}.values())
            num_in = len(rows) + left_out.total()
        else:
            usage = asyncio.run(_run(context, samples, work))
            rows = list(work.trajectories)
            left_out["infrastructure"] = num_in - len(rows)
    write_records(folder / "records", rows, Trajectory, key=lambda row: (row.trajectory_id,))
    observations = [turn.observation for row in rows for turn in row.turns]
    work.images.close(keep={ref.sha256 for seen in observations if seen for ref in seen.images})
    return StageReport(
        num_in=num_in,
        num_out=len(rows),
        left_out={reason: count for reason, count in left_out.items() if count},
        summary={
            **usage,
            "stop_reasons": dict(sorted(Counter(row.stop_reason.value for row in rows).items())),
            "num_calls": sum(row.num_calls for row in rows),
            "num_failed_calls": sum(row.num_failed_calls for row in rows),
        },
    )


def _import(
    context: StageContext,
    teacher: ImportedTeacher,
    samples: list[CuratedSample],
    work: SynthesisWork,
) -> Counter[str]:
    """Keep the trajectories of a file, and return how many of its rows are of no use, by reason."""
    by_id = {sample.sample_id: sample for sample in samples}
    faults: Counter[str] = Counter()
    found = iter_imported(teacher, by_id, root=context.root, images=work.images)
    finished = work.trajectories.finished_ids()
    chunk: list[Trajectory] = []
    for row in found:
        if isinstance(row, ImportFault):
            is_other = row.what.startswith("its sample")
            faults["not_in_pool" if is_other else "malformed_row"] += 1
            logger.warning("%s, row %d: %s", teacher.path, row.number, row.what)
        elif row.trajectory_id not in finished:
            chunk.append(row)
        if len(chunk) == _ROWS_PER_PART:
            work.trajectories.append(chunk)
            chunk = []
    work.trajectories.append(chunk)
    return faults


async def _run(
    context: StageContext, samples: list[CuratedSample], work: SynthesisWork
) -> dict[str, object]:
    """Let the teachers act, and return what they cost, by model; empty where nobody bills."""
    store = ImageStore.open(context.read_from("data/raw") / "images")
    params = context.params
    crew = build_crew(params, samples, scratch=context.scratch)
    total = len(samples) * params.synthesize.num_attempts
    async with open_kit(params, corpus=context.read_from("data/corpus")) as kit:
        try:
            with context.progress("trajectories", total=total) as progress:
                await write_trajectories(
                    samples,
                    crew=crew,
                    kit=kit,
                    store=store,
                    work=work,
                    params=params,
                    on_done=progress.advance,
                )
        finally:
            await crew.close()
    if crew.budget is None:
        return {}
    return {"usage": {model: one._asdict() for model, one in crew.budget.usage().items()}}


if __name__ == "__main__":
    STAGE.main(run)
