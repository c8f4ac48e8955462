"""A benchmark's published file as a held-out suite of the pipeline."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from agentic_vlm.errors import ParamsError
from agentic_vlm.evaluation.suites import SUITES, to_sample
from agentic_vlm.params import SuiteSource
from agentic_vlm.schema import RawSample
from agentic_vlm.store import ImageWriter


def iter_suite_source(
    source: SuiteSource, *, root: Path, images: ImageWriter
) -> Iterator[RawSample]:
    """Yield one sample per item, with the benchmark's own prompt, rule and labels.

    Nothing is left out: a benchmark without its broken rows would be another benchmark.

    Args:
        source: which benchmark, and its file.
        root: root of the project, to which the path of the source is relative.
        images: takes the pictures, each once.

    Raises:
        ParamsError: there is no benchmark of this name.
        ArtifactMissing: the file is missing.
        RecordError: a row is not of the published form.
        ImageError: a picture is broken.
    """
    suite = SUITES.get(source.suite)
    if suite is None:
        raise ParamsError(
            f"params.yaml, ingest.sources, {source.name}",
            f"suite {source.suite!r} is none of the benchmarks",
            f"name one of {', '.join(SUITES)}; own questions: type jsonl",
        )
    for item in islice(suite.iter_items(root / source.path), source.limit):
        where = f"{source.path}, item {item.item_id}"
        refs = [images.add(encoded, where=where) for encoded in item.images]
        yield to_sample(item, refs, suite=source.name, family=suite.family, split=source.suite)
