"""report: scores, rollouts, probes -> tables, figures, examples and metrics/summary.json."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from agentic_vlm.analysis.dynamics import pass_counts, rl_curves, rl_curves_by_family
from agentic_vlm.analysis.examples import Example, choose_examples
from agentic_vlm.analysis.flow import count_flow
from agentic_vlm.analysis.report import TRAJECTORIES, ReportContent, write_report
from agentic_vlm.analysis.report_tables import BenchmarkFigure
from agentic_vlm.analysis.scores import parse_summary, title_of
from agentic_vlm.analysis.work import count_work
from agentic_vlm.curation.card import write_card
from agentic_vlm.evaluation.contamination import contamination_table, find_twins
from agentic_vlm.evaluation.suite_report import suite_figures, suite_tables
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.summary import column_of, summarize
from agentic_vlm.runlog import write_json
from agentic_vlm.schema import (
    CheckpointCard,
    CuratedSample,
    Probe,
    RawSample,
    Rejection,
    Rollout,
    ScoredAnswer,
    Trajectory,
)
from agentic_vlm.slices import Entry
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, iter_records, read_records
from agentic_vlm.store.folders import replacing_folder
from agentic_vlm.view.page import write_page

R = TypeVar("R", Rollout, Probe)

STAGE = Stage(
    name="report",
    doc="Write tables, figures, examples, and the summary that is kept in git.",
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
    writes=("data/reports", "metrics/summary.json"),
    keeps_books=False,
)


def run(context: StageContext) -> StageReport:
    """Report on whatever was run; a recipe may leave stages out."""
    evaluate = context.params.evaluate
    data = context.root / "data"
    models = [model for model in evaluate.modes if (data / "scores" / model / "scores").exists()]
    scores, trajectories = _read_scores(context, models)
    summary = summarize(scores, num_bootstrap=evaluate.num_bootstrap, seed=context.params.seed)
    num_files = _write(context, summary, models, trajectories, scores)
    write_json(context.write_to("metrics/summary.json"), summary)
    return StageReport(num_in=len(scores), num_out=num_files)


def _read_scores(
    context: StageContext, models: list[str]
) -> tuple[list[ScoredAnswer], dict[str, list[Trajectory]]]:
    """Return all scored answers, and the episodes by the name of model and mode."""
    scores: list[ScoredAnswer] = []
    trajectories: dict[str, list[Trajectory]] = {}
    for model in models:
        folder = context.root / "data" / "scores" / model
        own = list(context.limited(iter_records(folder / "scores", ScoredAnswer)))
        episodes = {
            row.trajectory_id: row for row in iter_records(folder / "trajectories", Trajectory)
        }
        # A sample of several suites has several scores and one episode.
        for trajectory_id, column in {row.trajectory_id: column_of(row) for row in own}.items():
            trajectories.setdefault(column, []).append(episodes[trajectory_id])
        scores += own
    return scores, trajectories


def _write(
    context: StageContext,
    summary: dict[str, object],
    models: list[str],
    trajectories: dict[str, list[Trajectory]],
    scores: list[ScoredAnswer],
) -> int:
    data = context.root / "data"
    content = ReportContent(
        summary=parse_summary(summary),
        trajectories=trajectories,
        samples=_samples(context),
        curves=rl_curves(_rows_if_run(data / "rollouts" / "records", Rollout)),
        family_curves=rl_curves_by_family(
            _rows_if_run(data / "rollouts" / "records", Rollout), _training_families(data)
        ),
        passes=pass_counts(_rows_if_run(data / "probes" / "records", Probe)),
        flow=count_flow(data),
        work=count_work(data),
        examples=_examples(context, models, trajectories),
        pictures=ImageStore.open(*_image_folders(data, models)),
        suite_tables=suite_tables(scores, title_of),
        suite_figures=suite_figures(scores),
        benchmarks=list(_benchmarks(scores)),
        cards=_cards(context, scores),
        contamination=_contamination(context, scores),
    )
    with replacing_folder(context.write_to("data/reports")) as folder:
        write_report(content, folder)
        _write_browser(content, folder / TRAJECTORIES)
        if all((data / name / "records").exists() for name in ("raw", "curated")):
            write_card(
                context.root,
                context.params.ingest,
                num_attempts=context.params.probe.num_attempts,
                folder=folder,
                figures=("figures/probe_passes.png",),
            )
        return sum(path.is_file() for path in folder.rglob("*"))


def _write_browser(content: ReportContent, path: Path) -> None:
    """Write the page in which the samples of the examples can be compared over all models."""
    samples = {example.sample.sample_id: example.sample for example in content.examples}
    entries = (
        Entry(model, trajectory, samples[trajectory.sample_id], None)
        for model in content.summary.names()
        for trajectory in content.trajectories.get(model, ())
        if trajectory.sample_id in samples
    )
    write_page(path, entries, content.pictures, title="Trajectories of the report")


def _benchmarks(scores: list[ScoredAnswer]) -> Iterator[BenchmarkFigure]:
    """Yield the figures of every benchmark that was asked, by its own rule."""
    columns: dict[tuple[str, str], list[ScoredAnswer]] = {}
    for score in scores:
        if score.suite in SUITES:
            columns.setdefault((column_of(score), score.suite), []).append(score)
    for (model, suite), rows in sorted(columns.items()):
        for position, figure in enumerate(SUITES[suite].aggregate(rows)):
            yield BenchmarkFigure(model=model, suite=suite, position=position, **figure._asdict())


def _cards(context: StageContext, scores: list[ScoredAnswer]) -> dict[str, CheckpointCard]:
    """Return the card of each model that answered and has one, by the name in the summary."""
    cards = {}
    for column, model in {column_of(score): score.model for score in scores}.items():
        path = context.root / "models" / model / "card.json"
        if path.exists():
            cards[column] = CheckpointCard.model_validate_json(path.read_bytes())
    return cards


def _contamination(context: StageContext, scores: list[ScoredAnswer]) -> str:
    """Return the questions that training sources hold too, where stage curate was run."""
    folder = context.root / "data" / "curated" / "rejections"
    if not folder.exists() or not scores:
        return ""
    twins = find_twins(iter_records(folder, Rejection), _samples(context).values())
    columns: dict[str, list[ScoredAnswer]] = {}
    for score in scores:
        columns.setdefault(title_of(column_of(score)), []).append(score)
    return contamination_table(columns, twins)


def _samples(context: StageContext) -> dict[str, RawSample]:
    """Return the samples of the suites that were asked, by id."""
    suites = [context.root / "data" / "suites" / name for name in context.params.evaluate.suites]
    return {
        sample.sample_id: sample
        for suite in suites
        if suite.exists()
        for sample in read_records(suite / "records", RawSample)
    }


def _examples(
    context: StageContext, models: list[str], trajectories: dict[str, list[Trajectory]]
) -> list[Example]:
    """Choose from the last model of the flow that was evaluated with tools."""
    model = next((name for name in reversed(models) if name in trajectories), None)
    if model is None:
        return []
    num_examples = context.params.report.num_examples
    return choose_examples(
        trajectories[model], _samples(context), model=model, num_examples=num_examples
    )


def _training_families(data: Path) -> dict[str, str]:
    """Return the family of each curated sample, or none where curate was not run."""
    folder = data / "curated" / "records"
    rows = iter_records(folder, CuratedSample) if folder.exists() else ()
    return {row.sample_id: row.family for row in rows}


def _rows_if_run(folder: Path, record_type: type[R]) -> Iterable[R]:
    return iter_records(folder, record_type) if folder.exists() else ()


def _image_folders(data: Path, models: list[str]) -> list[Path]:
    suites = {path.parent for path in (data / "suites").rglob("images/part-*.parquet")}
    scores = {data / "scores" / model / "images" for model in models}
    return sorted(suites | {folder for folder in scores if folder.exists()})


if __name__ == "__main__":
    STAGE.main(run)
