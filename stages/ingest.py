"""ingest: source files and the generated world -> RawSample, held-out suites, the search corpus."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from agentic_vlm.curation.intake import iter_file_source, iter_jsonl_source
from agentic_vlm.curation.registry import resolve
from agentic_vlm.evaluation.intake import iter_suite_source
from agentic_vlm.evaluation.suites.reading import XQUAD
from agentic_vlm.formats.published import iter_squad_passages
from agentic_vlm.grading import guess_answer_type
from agentic_vlm.params import (
    FileSource,
    JsonlSource,
    RegisteredSource,
    SuiteSource,
    WorldSource,
)
from agentic_vlm.schema import RawSample, Rejection, RejectReason
from agentic_vlm.search import build_index
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageWriter, write_records
from agentic_vlm.world import source as world
from agentic_vlm.world.entities import Article

Source = WorldSource | JsonlSource | FileSource | SuiteSource

STAGE = Stage(
    name="ingest",
    doc="Read every source: training samples, held-out suites and the corpus to search.",
    writes=("data/raw", "data/suites", "data/corpus"),
)


def run(context: StageContext) -> StageReport:
    """Write data/raw, data/suites and data/corpus."""
    sources: tuple[Source, ...] = tuple(
        resolve(source, context.root) if isinstance(source, RegisteredSource) else source
        for source in context.params.ingest.sources
    )
    samples: list[RawSample] = []
    rejections: list[Rejection] = []
    suites = {source.suite: list[RawSample]() for source in sources if source.suite is not None}
    raw = context.write_to("data/raw")
    folders = {suite: context.write_to(f"data/suites/{suite}") for suite in suites}
    train_images = ImageWriter(raw / "images")
    suite_images = {suite: ImageWriter(folder / "images") for suite, folder in folders.items()}
    with context.timed("sources"):
        for source in sources:
            for row in context.limited(
                _iter_rows(source, context.root, train_images, suite_images)
            ):
                if isinstance(row, Rejection):
                    rejections.append(row)
                else:
                    (samples if row.split == world.TRAIN else suites[row.split]).append(row)
    for suite, rows in suites.items():
        suites[suite], doubles = _without_doubles(rows)
        rejections += doubles
    _write_samples(raw, samples, train_images)
    write_records(raw / "rejections", rejections, Rejection, key=lambda row: (row.row_id,))
    _remove_others(context.write_to("data/suites"), keep=set(suites))
    for suite, rows in suites.items():
        _write_samples(folders[suite], rows, suite_images[suite])
    with context.timed("corpus"):
        _write_corpus(sources, context.root, context.write_to("data/corpus"))
    num_out = len(samples) + sum(map(len, suites.values()))
    return StageReport(
        num_in=num_out + len(rejections),
        num_out=num_out,
        left_out=Counter(row.reason.value for row in rejections),
        summary={
            "num_train": len(samples),
            "suites": {suite: len(rows) for suite, rows in suites.items()},
            "families": dict(sorted(Counter(sample.family for sample in samples).items())),
        },
    )


def _iter_rows(
    source: Source, root: Path, train_images: ImageWriter, suite_images: dict[str, ImageWriter]
) -> Iterator[RawSample | Rejection]:
    match source:
        case WorldSource():
            entities = world.entities_of(source)
            yield from world.iter_train(source, entities, train_images)
            yield from world.iter_suite(source, entities, suite_images[source.suite])
        case SuiteSource():
            yield from iter_suite_source(source, root=root, images=suite_images[source.suite])
        case JsonlSource() | FileSource():
            images = train_images if source.suite is None else suite_images[source.suite]
            rows = (
                iter_jsonl_source(source, root=root, images=images)
                if isinstance(source, JsonlSource)
                else iter_file_source(source, root=root, images=images)
            )
            for row in rows:
                if source.suite is not None and isinstance(row, RawSample):
                    # Suites are evaluated as they are: curate never sees them.
                    kind = row.answer_type or guess_answer_type(row.answer)
                    row = row.model_copy(update={"answer_type": kind})
                yield row


def _without_doubles(rows: list[RawSample]) -> tuple[list[RawSample], list[Rejection]]:
    """Keep the first row of each sample id: a suite must not count a question twice."""
    first: dict[str, RawSample] = {}
    doubles = []
    for row in rows:
        twin = first.setdefault(row.sample_id, row)
        if twin is not row:
            doubles.append(
                Rejection(
                    stage=STAGE.name,
                    row_id=f"{row.source}:{row.source_row_id}",
                    reason=RejectReason.EXACT_DUPLICATE,
                    evidence=f"equals {twin.source}:{twin.source_row_id} of suite {row.split}",
                )
            )
    return list(first.values()), doubles


def _write_samples(folder: Path, samples: list[RawSample], images: ImageWriter) -> None:
    write_records(
        folder / "records",
        samples,
        RawSample,
        key=lambda row: (row.sample_id, row.source, row.source_row_id),
    )
    images.close(keep={ref.sha256 for sample in samples for ref in sample.images})


def _remove_others(folder: Path, *, keep: set[str]) -> None:
    """Remove suites that no source names any more."""
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.is_dir() and entry.name not in keep:
            shutil.rmtree(entry)


def _write_corpus(sources: tuple[Source, ...], root: Path, folder: Path) -> None:
    articles: list[Article] = []
    emblems: list[world.EmblemPage] = []
    for source in sources:
        if isinstance(source, WorldSource):
            entities = world.entities_of(source)
            pages = world.articles_of(source, entities)
            emblems += list(world.emblem_pages(entities, pages))
            # Article ids are unique within one world only.
            articles += [
                replace(page, article_id=f"{source.name}-{page.article_id}") for page in pages
            ]
        elif _has_passages(source):
            # The paragraphs hold the answers: they are what the search tool is to find.
            articles += [
                Article(f"{source.name}-{name}", title, text, date="", link=f"{source.name}/{name}")
                for name, title, text in iter_squad_passages(root / source.path)
            ]
    build_index(articles, emblems, folder)


def _has_passages(source: JsonlSource | FileSource | SuiteSource) -> bool:
    """Return whether a source brings the texts that its questions are about."""
    if isinstance(source, SuiteSource):
        return source.suite == XQUAD.name
    return isinstance(source, FileSource) and source.type == "squad"


if __name__ == "__main__":
    STAGE.main(run)
