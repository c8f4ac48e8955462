"""Rows of a foreign file to RawSamples; what cannot be used leaves as a Rejection."""

from collections.abc import Iterator
from pathlib import Path

from agentic_vlm.errors import ImageError
from agentic_vlm.formats.jsonl import JsonlFault, JsonlRow, iter_jsonl, read_picture
from agentic_vlm.params import JsonlSource
from agentic_vlm.schema import RawSample, Rejection, RejectReason, content_id
from agentic_vlm.store import ImageWriter

STAGE = "ingest"


def iter_jsonl_source(
    source: JsonlSource, *, root: Path, images: ImageWriter
) -> Iterator[RawSample | Rejection]:
    """Yield one RawSample or one Rejection per line; pictures go to `images`.

    Args:
        source: the file, its folder of pictures and its suite.
        root: root of the project, to which the paths of the source are relative.
        images: takes the pictures, each once.

    Raises:
        ArtifactMissing: the file is missing.
    """
    seen: set[str] = set()
    path = root / source.path
    for line in iter_jsonl(path):
        where = f"{source.path}, row {line.number}"
        row_id = f"{source.name}:{line.number}"
        row = line.content
        if isinstance(row, JsonlFault):
            field = f", field {row.field!r}" if row.field else ""
            yield _reject(row_id, RejectReason.MALFORMED_ROW, f"{where}{field}: {row.what}")
            continue
        own_id = row.id or str(line.number)
        if own_id in seen:
            evidence = f"{where}, field 'id': {own_id!r} stands twice"
            yield _reject(row_id, RejectReason.MALFORMED_ROW, evidence)
            continue
        outcome = _to_sample(row, own_id, source, root, images, where=where, row_id=row_id)
        if isinstance(outcome, RawSample):
            seen.add(own_id)
        yield outcome


def _to_sample(
    row: JsonlRow,
    own_id: str,
    source: JsonlSource,
    root: Path,
    images: ImageWriter,
    *,
    where: str,
    row_id: str,
) -> RawSample | Rejection:
    if not row.question.strip():
        return _reject(row_id, RejectReason.EMPTY_QUESTION, f"{where}, field 'question': empty")
    if not row.answer.strip():
        return _reject(row_id, RejectReason.EMPTY_ANSWER, f"{where}, field 'answer': empty")
    if row.picture_paths and source.images is None:
        evidence = f"{where}, field 'images': the source names no folder of pictures"
        return _reject(row_id, RejectReason.MALFORMED_ROW, evidence)
    refs = []
    for name in row.picture_paths:
        try:
            encoded = read_picture(root / (source.images or ""), name)
            refs.append(images.add(encoded, where=name))
        except ImageError as fault:
            field = "image" if row.image is not None else "images"
            evidence = f"{where}, field {field!r}: {fault.where}: {fault.what}"
            return _reject(row_id, RejectReason.BROKEN_IMAGE, evidence)
    return RawSample(
        sample_id=content_id(row.question, row.answer, *(ref.sha256 for ref in refs)),
        source=source.name,
        source_row_id=own_id,
        split=source.suite or "train",
        family=row.family or source.family,
        question=row.question,
        answer=row.answer,
        aliases=row.aliases,
        answer_type=row.answer_type,
        images=tuple(refs),
    )


def _reject(row_id: str, reason: RejectReason, evidence: str) -> Rejection:
    return Rejection(stage=STAGE, row_id=row_id, reason=reason, evidence=evidence)
