"""Finished trajectories of others, in LLaMA-Factory's form, as if a teacher had made them here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentic_vlm.agent.parse import parse_turn
from agentic_vlm.errors import ImageError
from agentic_vlm.formats.conversations import (
    Conversation,
    iter_conversations,
    last_answer,
    question_of_prompt,
)
from agentic_vlm.formats.jsonl import read_picture
from agentic_vlm.formats.row import RowFault
from agentic_vlm.params import ImportedTeacher
from agentic_vlm.schema import (
    CuratedSample,
    FinalAnswer,
    ImageRef,
    Observation,
    ObservationStatus,
    ProbeMode,
    StopReason,
    Trajectory,
    Turn,
    content_id,
)
from agentic_vlm.store import ImageWriter

_ERROR = re.compile(r"^(\w*(?:Error|Exception|Interrupt|Exit))(?::|$)", re.MULTILINE)
_STDERR = re.compile(r"stderr:\s*```(.*?)```", re.DOTALL)
_PREFIX = "<think>"


@dataclass(frozen=True, slots=True)
class ImportFault:
    """A conversation that is no trajectory of a sample of the pool."""

    number: int
    """Place in the file, from 1."""
    what: str


def iter_imported(
    teacher: ImportedTeacher,
    samples: Mapping[str, CuratedSample],
    *,
    root: Path,
    images: ImageWriter,
) -> Iterator[Trajectory | ImportFault]:
    """Yield the trajectories that belong to samples of the pool, numbered per sample.

    Args:
        teacher: the file and its folder of pictures.
        samples: the cold-start pool by id; it came from the same file, so the ids agree.
        root: root of the project.
        images: takes the pictures of observations.

    Raises:
        ArtifactMissing: the file is missing.
        RecordError: the file as a whole cannot be read.
    """
    path = root / teacher.path
    folder = path.parent if teacher.images is None else root / teacher.images
    num_of: dict[str, int] = {}
    for line in iter_conversations(path):
        talk = line.content
        if isinstance(talk, RowFault):
            yield ImportFault(line.number, f"field {talk.field!r}: {talk.what}")
            continue
        try:
            refs = tuple(_add(picture, folder, images) for picture in talk.pictures)
        except ImageError as fault:
            yield ImportFault(line.number, f"{fault.where}: {fault.what}")
            continue
        sample = samples.get(_sample_id(talk, refs))
        if sample is None:
            yield ImportFault(line.number, "its sample is not in the cold-start pool")
            continue
        attempt = num_of.get(sample.sample_id, 0)
        num_of[sample.sample_id] = attempt + 1
        yield to_trajectory(talk, refs, sample, attempt=attempt, policy=f"import:{teacher.name}")


def to_trajectory(
    talk: Conversation,
    refs: tuple[ImageRef, ...],
    sample: CuratedSample,
    *,
    attempt: int,
    policy: str,
) -> Trajectory:
    """Return the trajectory that a conversation tells; its tool turns are parsed as ours are."""
    num_prompt = talk.num_prompt_pictures
    left = list(refs[num_prompt:])
    turns: list[Turn] = []
    rest = talk.messages[1:]
    for at in range(0, len(rest), 2):
        text = rest[at][1]
        seen = _observation(rest[at + 1][1], left) if at + 1 < len(rest) else None
        prefill = _PREFIX if turns and text.startswith(_PREFIX) else ""
        turns.append(
            Turn(
                text=text.removeprefix(prefill),
                prefill=prefill,
                action=parse_turn(text),
                observation=seen,
            )
        )
    last = turns[-1].action
    is_answered = isinstance(last, FinalAnswer)
    mode = ProbeMode.AGENT
    return Trajectory(
        trajectory_id=content_id("synthesize", policy, sample.sample_id, mode.value, str(attempt)),
        sample_id=sample.sample_id,
        stage="synthesize",
        policy=policy,
        mode=mode.value,
        protocol="deepeyesv2",
        attempt=attempt,
        seed=0,
        system=talk.system,
        prompt=talk.messages[0][1],
        images=refs[:num_prompt],
        turns=tuple(turns),
        stop_reason=StopReason.ANSWER if is_answered else StopReason.NO_ACTION,
        answer=last.text if isinstance(last, FinalAnswer) else None,
    )


def _observation(text: str, left: list[ImageRef]) -> Observation:
    num_pictures = text.count("<image>")
    images = tuple(left[:num_pictures])
    del left[:num_pictures]
    errors = "\n".join(_STDERR.findall(text))
    match = _ERROR.search(errors or ("" if "stdout:" in text else text))
    if match is None:
        return Observation(text=text, images=images)
    status = ObservationStatus.ERROR
    return Observation(text=text, images=images, status=status, error_class=match[1])


def _add(picture: bytes | str, folder: Path, images: ImageWriter) -> ImageRef:
    encoded = picture if isinstance(picture, bytes) else read_picture(folder, picture)
    return images.add(encoded, where=picture if isinstance(picture, str) else "its bytes")


def _sample_id(talk: Conversation, refs: tuple[ImageRef, ...]) -> str:
    """Return the id that ingest gave the sample of this conversation."""
    num_pictures = talk.num_prompt_pictures
    prompt = talk.messages[0][1]
    question = talk.question or question_of_prompt(prompt, num_pictures=num_pictures)
    answer = talk.answer or last_answer(talk.messages[-1][1]) or ""
    return content_id(question, answer, *(ref.sha256 for ref in refs[:num_pictures]))
