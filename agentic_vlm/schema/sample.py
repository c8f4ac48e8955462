"""A question about images with a reference answer, and what the base policy makes of it."""

from enum import StrEnum

from agentic_vlm.schema.image import ImageRef
from agentic_vlm.schema.record import Record
from agentic_vlm.schema.score import Verdict


class AnswerType(StrEnum):
    """What kind of text a right answer is; chooses the grading rule."""

    CHOICE = "choice"
    INTEGER = "integer"
    FLOAT = "float"
    TEXT = "text"
    LIST = "list"
    MATH = "math"


class Need(StrEnum):
    """What a sample was made to need; known for generated samples only."""

    DIRECT = "direct"
    """Answerable from the picture as the policy sees it."""
    TOOL = "tool"
    """Made to need a crop, a computation or a search."""


class StepKind(StrEnum):
    """One step of a reference solution."""

    CROP = "crop"
    COMPUTE = "compute"
    IMAGE_SEARCH = "image_search"
    TEXT_SEARCH = "text_search"


class SolutionStep(Record):
    """A step of the reference solution of a generated sample; the scripted teacher acts on it."""

    kind: StepKind
    """What the step does."""
    box: tuple[int, int, int, int] | None = None
    """CROP: left, top, right, bottom in pixels of the original picture; else absent."""
    text: str = ""
    """COMPUTE: the expression; TEXT_SEARCH: the query; else empty."""
    notes: str = ""
    """COMPUTE: what one writes down before, such as the values read from a chart; may be empty."""
    reads: str = ""
    """What the step lets one read: the label in the crop, the result, the name or the fact."""


class RawSample(Record):
    """A sample as its source gives it, with images already in the image store."""

    sample_id: str
    """Digest of question, answer and image hashes: equal ids are exact duplicates."""
    source: str
    """Name of the source in params.yaml, such as `world`."""
    source_row_id: str
    """Unique within the source; never part of the identity."""
    split: str
    """`train`, or the name of the held-out suite."""
    family: str
    """perception, reasoning, search, integration or text."""
    need: Need | None = None
    """What the sample was made to need; absent for samples that nobody made."""
    template: str = ""
    """Which question template made it; empty for samples that nobody made."""
    difficulty: int | None = None
    """0 (easiest) to 3, as graded by the world; absent elsewhere."""
    question: str
    """The question, without any prompt around it."""
    answer: str
    """The reference answer."""
    aliases: tuple[str, ...] = ()
    """Other texts that are right too."""
    answer_type: AnswerType | None = None
    """Given by the source, or set by curate."""
    images: tuple[ImageRef, ...] = ()
    """Pictures in the order in which the question shows them; empty for text-only samples."""
    flags: tuple[str, ...] = ()
    """RealX-Bench flags: perception, search, reason."""
    solution: tuple[SolutionStep, ...] = ()
    """Reference solution of a generated sample; empty elsewhere."""


class CuratedSample(RawSample):
    """A sample with a checkable answer, once."""

    answer_type: AnswerType
    """Which rule grades it."""


class ProbeMode(StrEnum):
    """How an attempt was made."""

    DIRECT = "direct"
    AGENT = "agent"


class Probe(Record):
    """One attempt of the base policy at one sample, or the note that it was not needed."""

    sample_id: str
    """The sample that was tried."""
    mode: ProbeMode
    """With tools or without."""
    attempt: int
    """0 to k - 1; attempts of a group differ by seed only."""
    is_needed: bool
    """False where early stopping made the attempt unnecessary; then nothing was run."""
    verdict: Verdict | None = None
    """The verdict; absent where the attempt was not needed."""
    answer: str | None = None
    """The extracted answer; absent where there is none."""
    stop_reason: str | None = None
    """How the episode ended; absent where the attempt was not needed."""
    num_calls: int = 0
    """Tool calls made."""
