"""ingest: source files and the generated world -> RawSample, held-out suites, the search corpus."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
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
from agentic_vlm.store import ImageWriter, RecordWriter
from agentic_vlm.world import source as world
from agentic_vlm.world.entities import Article

Source = WorldSource | JsonlSource | FileSource | SuiteSource

STAGE = Stage(
    name="ingest",
    doc="Read every source: training samples, held-out suites and the corpus to search.",
    writes=("data/raw", "data/suites", "data/corpus"),
)


def run(context: StageContext) -> StageReport:
    """Write data/raw, data/suites and data/corpus; rows pass one by one."""
    sources: tuple[Source, ...] = tuple(
        resolve(source, context.root) if isinstance(source, RegisteredSource) else source
        for source in context.params.ingest.sources
    )
    suites = list(dict.fromkeys(source.suite for source in sources if source.suite is not None))
    raw = context.write_to("data/raw")
    train = _Split(raw)
    splits = {suite: _Split(context.write_to(f"data/suites/{suite}")) for suite in suites}
    rejected = RecordWriter(raw / "rejections", Rejection, key=lambda row: (row.row_id,))
    reasons: Counter[str] = Counter()
    with context.timed("sources"), ExitStack() as stack:
        stack.enter_context(rejected)
        for split in (train, *splits.values()):
            stack.enter_context(split.rows)
        for source in sources:
            for row in context.limited(_iter_rows(source, context.root, train, splits)):
                outcome = row
                if isinstance(row, RawSample):
                    outcome = (train if row.split == world.TRAIN else splits[row.split]).take(row)
                if isinstance(outcome, Rejection):
                    reasons[outcome.reason.value] += 1
                    rejected.add(outcome)
    _remove_others(context.write_to("data/suites"), keep=set(suites))
    for split in (train, *splits.values()):
        split.images.close(keep=split.shown)
    with context.timed("corpus"):
        _write_corpus(sources, context.root, context.write_to("data/corpus"))
    num_out = train.rows.num_rows + sum(split.rows.num_rows for split in splits.values())
    return StageReport(
        num_in=num_out + rejected.num_rows,
        num_out=num_out,
        left_out=reasons,
        summary={
            "num_train": train.rows.num_rows,
            "suites": {suite: split.rows.num_rows for suite, split in splits.items()},
            "families": dict(sorted(train.families.items())),
        },
    )


class _Split:
    """The training rows or one suite, on their way to disk."""

    def __init__(self, folder: Path) -> None:
        self.rows = RecordWriter(
            folder / "records",
            RawSample,
            key=lambda row: (row.sample_id, row.source, row.source_row_id),
        )
        self.images = ImageWriter(folder / "images")
        self.shown: set[str] = set()
        """Digests of the pictures of rows that were taken."""
        self.families: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def take(self, row: RawSample) -> RawSample | Rejection:
        """Take a row; a suite must not count a question twice, so it takes each id once."""
        name = f"{row.source}:{row.source_row_id}"
        if row.split != world.TRAIN:
            twin = self._first.setdefault(row.sample_id, name)
            if twin != name:
                evidence = f"equals {twin} of suite {row.split}"
                reason = RejectReason.EXACT_DUPLICATE
                return Rejection(stage=STAGE.name, row_id=name, reason=reason, evidence=evidence)
        self.rows.add(row)
        self.shown.update(ref.sha256 for ref in row.images)
        self.families[row.family] += 1
        return row


def _iter_rows(
    source: Source, root: Path, train: _Split, splits: dict[str, _Split]
) -> Iterator[RawSample | Rejection]:
    match source:
        case WorldSource():
            entities = world.entities_of(source)
            yield from world.iter_train(source, entities, train.images)
            yield from world.iter_suite(source, entities, splits[source.suite].images)
        case SuiteSource():
            images = splits[source.suite].images
            yield from iter_suite_source(source, root=root, images=images)
        case JsonlSource() | FileSource():
            images = (train if source.suite is None else splits[source.suite]).images
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
