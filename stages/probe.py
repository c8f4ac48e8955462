"""probe: CuratedSample -> Probe. What the base can do without tools, and with them."""

import asyncio
from pathlib import Path

from agentic_vlm.agent.runtime import open_runtime
from agentic_vlm.curation.attempts import (
    ATTEMPTS_PER_CHUNK,
    ProbeWork,
    probe_id,
    run_attempts,
)
from agentic_vlm.curation.pass_rates import summarise_probes
from agentic_vlm.curation.schedule import Rules, Schedule
from agentic_vlm.grading.judges import open_judge
from agentic_vlm.schema import CuratedSample, Probe, ProbeMode, Trajectory
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, iter_records, write_records

STAGE = Stage(
    name="probe",
    doc="Let the base policy try each sample without and with tools, no more than needed.",
    reads=("data/curated", "data/raw", "data/corpus", "models/base"),
    writes=("data/probes",),
)


def run(context: StageContext) -> StageReport:
    """Write data/probes/{records,trajectories,images}."""
    params = context.params
    curated = context.read_from("data/curated")
    rows = context.limited(iter_records(curated / "records", CuratedSample))
    samples = {row.sample_id: row for row in rows}
    folder = context.write_to("data/probes")
    schedule = Schedule(samples, Rules.of(params.probe, params.allocate))
    work = ProbeWork(context.scratch, folder / "images")
    with context.timed("attempts"):
        asyncio.run(_run(context, schedule, samples, work))
    # The scratch folder outlives a change of the rules: it may hold attempts that no longer count.
    skipped = list(schedule.iter_skipped())
    unneeded = {probe_id(probe) for probe in skipped}
    made = {probe_id(row): row for row in work.probes if probe_id(row) not in unneeded}
    probes = [*made.values(), *skipped]
    num_made = _write(folder, probes, work)
    num_all = len(samples) * 2 * params.probe.num_attempts
    return StageReport(
        num_in=num_all,
        num_out=num_made,
        left_out={"not_needed": len(skipped)},
        summary=summarise_probes(probes, samples.values(), num_attempts=params.probe.num_attempts),
    )


async def _run(
    context: StageContext,
    schedule: Schedule,
    samples: dict[str, CuratedSample],
    work: ProbeWork,
) -> None:
    store = ImageStore.open(context.read_from("data/raw") / "images")
    total = len(samples) * 2 * context.params.probe.num_attempts
    checkpoint = context.read_from("models/base")
    corpus = context.read_from("data/corpus")
    async with (
        open_judge(context.params.grading, root=context.root) as judge,
        open_runtime(
            context.params,
            checkpoint=checkpoint,
            corpus=corpus,
            # A chunk goes on with the samples of the one before.
            num_kept_prompts=ATTEMPTS_PER_CHUNK,
        ) as runtime,
    ):
        with context.progress("attempts", total=total) as progress:
            await run_attempts(
                schedule,
                samples,
                runtime=runtime,
                store=store,
                work=work,
                params=context.params,
                on_done=progress.advance,
                judge=judge,
            )
            progress.advance(total - progress.num_done)


def _write(folder: Path, probes: list[Probe], work: ProbeWork) -> int:
    made = {
        (probe.sample_id, probe.mode.value, probe.attempt) for probe in probes if probe.is_needed
    }
    trajectories = {
        row.trajectory_id: row
        for row in work.trajectories
        if (row.sample_id, row.mode, row.attempt) in made
    }
    write_records(
        folder / "records",
        probes,
        Probe,
        key=lambda row: (row.sample_id, list(ProbeMode).index(row.mode), row.attempt),
    )
    write_records(
        folder / "trajectories",
        trajectories.values(),
        Trajectory,
        key=lambda row: (row.trajectory_id,),
    )
    work.images.close(
        keep={
            ref.sha256
            for row in trajectories.values()
            for turn in row.turns
            if turn.observation is not None
            for ref in turn.observation.images
        }
    )
    return len(made)


if __name__ == "__main__":
    STAGE.main(run)
