"""evaluate: checkpoint x held-out suites -> ScoredAnswer, Trajectory, pictures of observations."""

import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from agentic_vlm.agent.runtime import open_runtime
from agentic_vlm.errors import ParamsError
from agentic_vlm.evaluation.run import (
    Ask,
    Collector,
    collect_episodes,
    grade_trajectories,
    iter_scores,
    plan_asks,
)
from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.summary import column_of, summarize_model
from agentic_vlm.grading import Grade, Mode
from agentic_vlm.grading.judges import ModelJudge, open_judge
from agentic_vlm.schema import RawSample, ScoredAnswer, Trajectory
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, ImageWriter, Parts, read_records, write_records

STAGE = Stage(
    name="evaluate",
    doc="Answer the held-out suites with one model and grade the answers.",
    reads=("models/{model}", "data/suites", "data/corpus"),
    writes=("data/scores/{model}",),
    matrix="model",
)


def run(context: StageContext) -> StageReport:
    """Ask every sample of the suites in every mode of the model."""
    model = context.variant
    modes = _modes(context)
    suites, num_doubles = _read_suites(context)
    asks = plan_asks(suites, modes)
    with context.timed("answer"):
        trajectories, images = _answer(context, asks)
    samples = {sample.sample_id: sample for rows in suites.values() for sample in rows}
    with context.timed("grade"):
        graded, judged = asyncio.run(_grade(context, trajectories, samples))
    # A model without modes is asked nothing: experiments leave out models that others have scored.
    scores = list(iter_scores(graded, suites if modes else {}, model=model))
    out = context.write_to(f"data/scores/{model}")
    images.close(keep=_shown(trajectories))
    write_records(
        out / "trajectories",
        (trajectory for trajectory, _ in graded),
        Trajectory,
        key=lambda row: (row.mode, row.sample_id),
    )
    write_records(
        out / "scores", scores, ScoredAnswer, key=lambda row: (row.suite, row.mode, row.sample_id)
    )
    left_out = {"exact_duplicate": num_doubles * len(modes)} if num_doubles else {}
    num_in = len(scores) + sum(left_out.values())
    return StageReport(num_in, len(scores), left_out, {**_summary(scores), **judged})


async def _grade(
    context: StageContext, trajectories: list[Trajectory], samples: dict[str, RawSample]
) -> tuple[list[tuple[Trajectory, Grade]], dict[str, object]]:
    """Return the grades, and what the judge was asked if there is one."""
    grading, mode = context.params.grading, Mode(context.params.evaluate.rules)
    async with open_judge(grading, root=context.root) as judge:
        graded = await grade_trajectories(
            trajectories, samples, judge=judge, params=grading, mode=mode
        )
    return graded, {"judge": asdict(judge.counts)} if isinstance(judge, ModelJudge) else {}


def _modes(context: StageContext) -> tuple[RunMode, ...]:
    modes = context.params.evaluate.modes
    if context.variant not in modes:
        raise ParamsError(
            "params.yaml, evaluate.modes",
            f"says nothing about the model {context.variant!r}; it has {', '.join(modes)}",
            "add the model with its modes, or pass one of these names as --model",
        )
    return tuple(RunMode(mode) for mode in modes[context.variant])


def _read_suites(context: StageContext) -> tuple[dict[str, list[RawSample]], int]:
    """Return the samples of each suite, each once, and how many doubles there were."""
    suites, num_doubles = {}, 0
    for name in context.params.evaluate.suites:
        folder = context.read_from(f"data/suites/{name}")
        rows = list(context.limited(read_records(folder / "records", RawSample)))
        suites[name] = list({row.sample_id: row for row in rows}.values())
        num_doubles += len(rows) - len(suites[name])
    return suites, num_doubles


def _answer(context: StageContext, asks: list[Ask]) -> tuple[list[Trajectory], ImageWriter]:
    model = context.variant
    parts = Parts(context.scratch / "parts", Trajectory, row_id=lambda row: row.trajectory_id)
    images = ImageWriter(
        context.write_to(f"data/scores/{model}/images"), spool=context.scratch / "pictures"
    )
    pictures = ImageStore.open(*_image_folders(context))

    async def collect() -> None:
        checkpoint = context.read_from(f"models/{model}")
        corpus = context.read_from("data/corpus")
        async with open_runtime(context.params, checkpoint=checkpoint, corpus=corpus) as runtime:
            collector = Collector(pictures, parts, images, progress.advance)
            await collect_episodes(
                asks, runtime=runtime, collector=collector, params=context.params
            )

    with context.progress(model, total=len(asks)) as progress:
        asyncio.run(collect())
    return list(parts), images


def _image_folders(context: StageContext) -> list[Path]:
    return sorted(
        {path.parent for path in context.read_from("data/suites").rglob("images/part-*.parquet")}
    )


def _shown(trajectories: list[Trajectory]) -> set[str]:
    """Return the hashes of the pictures that observations show."""
    return {
        image.sha256
        for trajectory in trajectories
        for turn in trajectory.turns
        if turn.observation is not None
        for image in turn.observation.images
    }


def _summary(scores: list[ScoredAnswer]) -> dict[str, object]:
    columns: dict[str, list[ScoredAnswer]] = {}
    for score in scores:
        columns.setdefault(column_of(score), []).append(score)
    return {
        "stop_reasons": dict(sorted(Counter(score.stop_reason for score in scores).items())),
        **{name: summarize_model(rows)["all"] for name, rows in sorted(columns.items())},
    }


if __name__ == "__main__":
    STAGE.main(run)
