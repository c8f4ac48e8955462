"""curate: RawSample -> CuratedSample. Checkable answers, each sample once, none of a suite."""

from collections import Counter
from collections.abc import Iterable

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.executor import map_shards
from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.curation.picture_match import LookCache
from agentic_vlm.curation.pictures import PictureView, view_shard
from agentic_vlm.schema import CuratedSample, RawSample, Rejection
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, iter_records, read_records, write_records

STAGE = Stage(
    name="curate",
    doc="Normalise, keep verifiable answers once each, and leave out what a suite holds.",
    reads=("data/raw", "data/suites"),
    writes=("data/curated",),
)
# Some seconds of work, and some MB on the way to a worker.
_PICTURES_PER_SHARD = 64


def run(context: StageContext) -> StageReport:
    """Write data/curated/{records,rejections}."""
    params = context.params.curate
    raw = context.read_from("data/raw")
    suites = sorted(path for path in context.read_from("data/suites").iterdir() if path.is_dir())
    samples = list(context.limited(iter_records(raw / "records", RawSample)))
    held_out = [row for suite in suites for row in read_records(suite / "records", RawSample)]
    kept: list[CuratedSample] = []
    rejections: list[Rejection] = []
    usable = [normalise_sample(sample, params) for sample in samples]
    good = [sample for sample in usable if isinstance(sample, CuratedSample)]
    with context.timed("pictures"):
        store = ImageStore.open(*(folder / "images" for folder in (raw, *suites)))
        views = _views(context, store, [*good, *held_out])
        looks = LookCache(store.get)
    with context.timed("filters"):
        duplicates = DuplicateFilter(views, params=params, looks=looks)
        suite_filter = SuiteFilter(held_out, views, params=params, looks=looks)
        for sample in usable:
            if isinstance(sample, Rejection):
                rejections.append(sample)
                continue
            rejection = suite_filter.check(sample) or duplicates.check(sample)
            if rejection is None:
                kept.append(sample)
            else:
                rejections.append(rejection)
    folder = context.write_to("data/curated")
    write_records(folder / "records", kept, CuratedSample, key=lambda row: (row.sample_id,))
    write_records(folder / "rejections", rejections, Rejection, key=lambda row: (row.row_id,))
    return StageReport(
        num_in=len(samples),
        num_out=len(kept),
        left_out=Counter(row.reason.value for row in rejections),
        summary={
            "families": dict(sorted(Counter(row.family for row in kept).items())),
            "answer_types": dict(sorted(Counter(row.answer_type.value for row in kept).items())),
        },
    )


def _views(
    context: StageContext, store: ImageStore, samples: Iterable[RawSample]
) -> dict[str, PictureView]:
    """Return what is compared of every picture; each is decoded once and let go."""
    names = sorted({ref.sha256 for sample in samples for ref in sample.images})
    # Workers need no access to our files: pictures travel encoded.
    pictures = ((sha256, store.get_bytes(sha256)) for sha256 in names)
    with context.progress("pictures", total=len(names)) as progress:
        views = map_shards(
            view_shard, pictures, shard_size=_PICTURES_PER_SHARD, on_done=progress.advance
        )
        return dict(views)


if __name__ == "__main__":
    STAGE.main(run)
