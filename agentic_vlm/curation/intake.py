"""Rows of a foreign file to RawSamples; what cannot be used leaves as a Rejection."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentic_vlm.curation.digests import DigestMap, digest_of
from agentic_vlm.curation.shares import is_in_share
from agentic_vlm.errors import ImageError
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.jsonl import JsonlFault, iter_jsonl, read_picture
from agentic_vlm.formats.readers import READERS
from agentic_vlm.formats.row import (
    FaultKind,
    Line,
    PublishedRow,
    RowFault,
    compose_question,
    strip_markers,
)
from agentic_vlm.params import FileSource, JsonlSource
from agentic_vlm.schema import RawSample, Rejection, RejectReason, content_id
from agentic_vlm.store import ImageWriter

STAGE = "ingest"
_REASONS = {
    FaultKind.MALFORMED: RejectReason.MALFORMED_ROW,
    FaultKind.NO_QUESTION: RejectReason.EMPTY_QUESTION,
    FaultKind.NO_ANSWER: RejectReason.EMPTY_ANSWER,
    FaultKind.PICTURE: RejectReason.BROKEN_IMAGE,
}


@dataclass(frozen=True, slots=True)
class _Intake:
    """What is the same for all rows of a source."""

    name: str
    path: str
    folder: Path | None
    """Folder of the pictures; absent where the source has none."""
    suite: str | None
    family: str
    share: float
    images: ImageWriter

    def where(self, line: Line) -> str:
        return f"{self.path}, row {line.number}"

    def reject(self, line: Line, reason: RejectReason, evidence: str) -> Rejection:
        row_id = f"{self.name}:{line.number}"
        return Rejection(
            stage=STAGE, row_id=row_id, reason=reason, evidence=f"{self.where(line)}{evidence}"
        )


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
    intake = _Intake(
        name=source.name,
        path=source.path,
        folder=None if source.images is None else root / source.images,
        suite=source.suite,
        family=source.family,
        share=1.0,
        images=images,
    )
    return _take_all(_jsonl_lines(root / source.path), intake)


def iter_file_source(
    source: FileSource, *, root: Path, images: ImageWriter
) -> Iterator[RawSample | Rejection]:
    """Yield one RawSample or one Rejection per row of a published file; as for JSON Lines.

    Raises:
        ArtifactMissing: the file is missing.
        RecordError: the file as a whole cannot be read.
    """
    path = root / source.path
    beside = path if path.is_dir() else path.parent
    intake = _Intake(
        name=source.name,
        path=source.path,
        folder=beside if source.images is None else root / source.images,
        suite=source.suite,
        family=source.family,
        share=source.share,
        images=images,
    )
    return _take_all(READERS[source.type](path, Columns(source.columns)), intake)


def _jsonl_lines(path: Path) -> Iterator[Line]:
    for line in iter_jsonl(path):
        row = line.content
        if isinstance(row, JsonlFault):
            yield Line(line.number, RowFault(row.field, row.what))
            continue
        content = PublishedRow(
            question=row.question,
            answer=row.answer,
            options=row.options,
            aliases=row.aliases,
            pictures=row.picture_paths,
            picture_field="images" if row.image is None else "image",
            own_id=row.id or None,
            family=row.family,
            answer_type=row.answer_type,
        )
        yield Line(line.number, content)


def _take_all(lines: Iterator[Line], intake: _Intake) -> Iterator[RawSample | Rejection]:
    seen = DigestMap()
    for line in lines:
        row = line.content
        if isinstance(row, RowFault):
            field = f", field {row.field!r}" if row.field else ""
            yield intake.reject(line, _REASONS[row.kind], f"{field}: {row.what}")
            continue
        own_id = row.own_id or str(line.number)
        digest = digest_of(own_id)
        if seen.get(digest) is not None:
            evidence = f", field 'id': {own_id!r} stands twice"
            yield intake.reject(line, RejectReason.MALFORMED_ROW, evidence)
            continue
        if not is_in_share(f"{intake.name}:{own_id}", intake.share):
            evidence = f": the source gives {intake.share:g} of its rows"
            yield intake.reject(line, RejectReason.OVER_SHARE, evidence)
            continue
        outcome = _take(row, own_id, line, intake)
        if isinstance(outcome, RawSample):
            seen.add(digest, line.number)
        yield outcome


def _take(row: PublishedRow, own_id: str, line: Line, intake: _Intake) -> RawSample | Rejection:
    if not row.question.strip():
        return intake.reject(line, RejectReason.EMPTY_QUESTION, ", field 'question': empty")
    if not row.answer.strip():
        return intake.reject(line, RejectReason.EMPTY_ANSWER, ", field 'answer': empty")
    refs = []
    for picture in row.pictures:
        if isinstance(picture, str) and intake.folder is None:
            evidence = ", field 'images': the source names no folder of pictures"
            return intake.reject(line, RejectReason.MALFORMED_ROW, evidence)
        try:
            if isinstance(picture, str):
                encoded = read_picture(intake.folder or Path(), picture)
                refs.append(intake.images.add(encoded, where=picture))
            else:
                refs.append(intake.images.add(picture, where="its bytes"))
        except ImageError as fault:
            evidence = f", field {row.picture_field!r}: {fault.where}: {fault.what}"
            return intake.reject(line, RejectReason.BROKEN_IMAGE, evidence)
    # Options may be pictures too; other formats hold them as lines of the question already.
    composed = compose_question(row.question, row.options)
    question = strip_markers(composed, num_pictures=len(row.pictures))
    return RawSample(
        sample_id=content_id(question, row.answer, *(ref.sha256 for ref in refs)),
        source=intake.name,
        source_row_id=own_id,
        split=intake.suite or "train",
        family=row.family or intake.family,
        question=question,
        answer=row.answer,
        aliases=row.aliases,
        answer_type=row.answer_type,
        images=tuple(refs),
    )
