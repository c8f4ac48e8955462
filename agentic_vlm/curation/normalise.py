"""Texts in one form, answers with a type, pictures within limits."""

import unicodedata

from agentic_vlm.curation.open_form import to_open_form
from agentic_vlm.grading import guess_answer_type
from agentic_vlm.params import CurateParams
from agentic_vlm.schema import CuratedSample, ImageRef, RawSample, Rejection, RejectReason

# Zero-width characters, which no reader sees, and the byte order mark.
_INVISIBLE = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))


def normalise_text(text: str) -> str:
    r"""Return the text composed (NFC), without invisible characters, blanks made single.

    Line breaks stay, since lists of options need them.

    >>> normalise_text("  What\u00a0is   it?\r\n\r\n\r\n(A) red ")
    'What is it?\n(A) red'
    """
    text = unicodedata.normalize("NFC", text).translate(_INVISIBLE)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def normalise_sample(sample: RawSample, params: CurateParams) -> CuratedSample | Rejection:
    """Return the sample in normal form, or why it cannot be used.

    The id stays: it is the digest of the sample as its source gave it.
    """
    question, answer = normalise_text(sample.question), normalise_text(sample.answer)
    if not question:
        return reject(sample, RejectReason.EMPTY_QUESTION, "the question has no visible text")
    if not answer:
        return reject(sample, RejectReason.EMPTY_ANSWER, "the answer has no visible text")
    if not any(sign.isalnum() for sign in answer):
        return reject(sample, RejectReason.NOT_VERIFIABLE, f"answer {answer!r} has no word")
    for ref in sample.images:
        if fault := _image_fault(ref, params):
            return reject(sample, RejectReason.IMAGE_OUTSIDE_LIMITS, fault)
    aliases = tuple(alias for alias in map(normalise_text, sample.aliases) if alias)
    changes = {
        "question": question,
        "answer": answer,
        "aliases": aliases,
        "answer_type": sample.answer_type or guess_answer_type(answer),
    }
    curated = CuratedSample.model_validate(sample.model_dump() | changes)
    return to_open_form(curated) if params.opens_choices else curated


def reject(sample: RawSample, reason: RejectReason, evidence: str) -> Rejection:
    """Return the rejection of a sample by curate."""
    row_id = f"{sample.source}:{sample.source_row_id}"
    return Rejection(stage="curate", row_id=row_id, reason=reason, evidence=evidence)


def _image_fault(ref: ImageRef, params: CurateParams) -> str:
    num_pixels = ref.width_px * ref.height_px
    if num_pixels > params.max_image_pixels:
        return f"{ref.sha256[:12]}: {num_pixels} px exceed {params.max_image_pixels} px"
    if min(ref.width_px, ref.height_px) < params.min_side_px:
        size = f"{ref.width_px} x {ref.height_px}"
        return f"{ref.sha256[:12]}: {size} px, a side is below {params.min_side_px} px"
    ratio = max(ref.width_px, ref.height_px) / min(ref.width_px, ref.height_px)
    if ratio > params.max_ratio:
        return f"{ref.sha256[:12]}: the sides differ by {ratio:.0f}, more than {params.max_ratio:g}"
    return ""
