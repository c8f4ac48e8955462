"""Why a row left the pipeline. Nothing vanishes: rows in = rows out + rejections."""

from enum import StrEnum

from agentic_vlm.schema.record import Record


class RejectReason(StrEnum):
    """Closed list of reasons, by stage."""

    # ingest, curate
    MALFORMED_ROW = "malformed_row"
    EMPTY_QUESTION = "empty_question"
    EMPTY_ANSWER = "empty_answer"
    BROKEN_IMAGE = "broken_image"
    IMAGE_OUTSIDE_LIMITS = "image_outside_limits"
    NOT_VERIFIABLE = "not_verifiable"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    CONTAMINATED = "contaminated"
    # allocate
    TOO_EASY = "too_easy"
    UNDECIDED = "undecided"
    # select_sft
    NOT_CORRECT = "not_correct"
    CODE_ERROR = "code_error"
    NO_USEFUL_CALL = "no_useful_call"
    PLACEHOLDER_CODE = "placeholder_code"
    TOO_LONG = "too_long"
    OVER_SHARE = "over_share"
    INFRASTRUCTURE = "infrastructure"


class Rejection(Record):
    """One row that a stage did not pass on."""

    stage: str
    """The stage that rejected it."""
    row_id: str
    """sample_id, trajectory_id or `source:row` of the row."""
    reason: RejectReason
    """Why."""
    evidence: str = ""
    """What was seen: the twin of a duplicate, the error text of a broken picture."""
