"""curate: RawSample -> CuratedSample. Checkable answers, each sample once, none of a suite."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.executor import map_shards
from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.curation.picture_match import LookCache
from agentic_vlm.curation.pictures import PictureView, view_shard
from agentic_vlm.curation.question_pairs import QuestionPairs
from agentic_vlm.schema import CuratedSample, RawSample, Rejection
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, RecordWriter, iter_records, read_records

STAGE = Stage(
    name="curate",
    doc="Normalise, keep verifiable answers once each, and leave out what a suite holds.",
    reads=("data/raw", "data/suites"),
    writes=("data/curated",),
)
# Some seconds of work, and some MB on the way to a worker.
_PICTURES_PER_SHARD = 64


def run(context: StageContext) -> StageReport:
    """Write data/curated/{records,rejections}.

    The raw samples are read twice, one by one: what pictures and questions must be compared is
    known before the first decision, and what memory holds of a row is a few words.
    """
    params = context.params.curate
    raw = context.read_from("data/raw")
    suites = sorted(path for path in context.read_from("data/suites").iterdir() if path.is_dir())
    held_out = [row for suite in suites for row in read_records(suite / "records", RawSample)]
    with context.timed("pictures"):
        pairs, names = _survey(context, raw)
        names |= {ref.sha256 for sample in held_out for ref in sample.images}
        store = ImageStore.open(*(folder / "images" for folder in (raw, *suites)))
        looks = LookCache(store.get)
        views = _views(context, store, sorted(names), looks)
    folder = context.write_to("data/curated")
    with (
        context.timed("filters"),
        RecordWriter(folder / "records", CuratedSample, key=lambda row: (row.sample_id,)) as kept,
        RecordWriter(folder / "rejections", Rejection, key=lambda row: (row.row_id,)) as rejected,
    ):
        counts = _Counts()
        duplicates = DuplicateFilter(views, params=params, looks=looks, pairs=pairs)
        suite_filter = SuiteFilter(held_out, views, params=params, looks=looks)
        for sample in _iter_usable(context, raw):
            outcome: CuratedSample | Rejection = sample
            if isinstance(sample, CuratedSample):
                outcome = suite_filter.check(sample) or duplicates.check(sample) or sample
            counts.add(outcome)
            if isinstance(outcome, Rejection):
                rejected.add(outcome)
            else:
                kept.add(outcome)
    return StageReport(
        num_in=kept.num_rows + rejected.num_rows,
        num_out=kept.num_rows,
        left_out=counts.reasons,
        summary={
            "families": dict(sorted(counts.families.items())),
            "answer_types": dict(sorted(counts.answer_types.items())),
        },
    )


@dataclass(slots=True)
class _Counts:
    families: Counter[str] = field(default_factory=Counter)
    answer_types: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: CuratedSample | Rejection) -> None:
        if isinstance(outcome, Rejection):
            self.reasons[outcome.reason.value] += 1
        else:
            self.families[outcome.family] += 1
            self.answer_types[outcome.answer_type.value] += 1


def _iter_usable(context: StageContext, raw: Path) -> Iterator[CuratedSample | Rejection]:
    for sample in context.limited(iter_records(raw / "records", RawSample)):
        yield normalise_sample(sample, context.params.curate)


def _survey(context: StageContext, raw: Path) -> tuple[QuestionPairs, set[str]]:
    """Return which questions may be near each other, and the digests of all pictures."""
    pairs, names = QuestionPairs(), set[str]()
    for sample in _iter_usable(context, raw):
        if isinstance(sample, CuratedSample):
            names.update(ref.sha256 for ref in sample.images)
            if not sample.images:
                pairs.add(sample.sample_id, sample.question)
    pairs.settle()
    return pairs, names


def _views(
    context: StageContext, store: ImageStore, names: Sequence[str], looks: LookCache
) -> dict[str, PictureView]:
    """Return what is compared of every picture; each is decoded and let go.

    The first looks stay; of the others, those that a decision needs are loaded again.
    """
    views: dict[str, PictureView] = {}
    # Workers need no access to our files: pictures travel encoded.
    pictures = ((sha256, store.get_bytes(sha256)) for sha256 in names)
    with context.progress("pictures", total=len(names)) as progress:
        for sha256, view in map_shards(
            view_shard, pictures, shard_size=_PICTURES_PER_SHARD, on_done=progress.advance
        ):
            if view.look is not None:
                looks.offer(sha256, view.look)
            views[sha256] = replace(view, look=None)
    return views


if __name__ == "__main__":
    STAGE.main(run)
