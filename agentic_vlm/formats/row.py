"""What every reader yields: a question with its answer and pictures, or the fault of a row."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agentic_vlm.schema import AnswerType

MAX_TEXT_CHARS = 200_000
"""Longest text of one field; longer ones are no question, and they would burst every context."""
_MARKER = re.compile(r"<image(?:[ _]?(\d+))?>|<\|image(?:_\d+)?\|>", re.IGNORECASE)
_OPTION_LINE = re.compile(r"^\(([A-Z])\) (.+)$")
_OPTION_IN_TEXT = re.compile(r"(?m)^\s*\(?([A-Z])[).:]\s*\S")


class FaultKind(StrEnum):
    """What kind of fault a row has."""

    MALFORMED = "malformed"
    NO_QUESTION = "no_question"
    NO_ANSWER = "no_answer"
    PICTURE = "picture"


class RowFault(Exception):
    """What is wrong with a row; raised inside readers, which yield it in place of the row."""

    def __init__(self, field: str, what: str, kind: FaultKind = FaultKind.MALFORMED) -> None:
        """Name the place and the fault.

        Args:
            field: as the file names it; empty where the row as a whole is at fault.
            what: the fault.
            kind: which reason for rejection it is.
        """
        super().__init__(field, what, kind)
        self.field = field
        self.what = what
        self.kind = kind


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One question of a published file."""

    question: str
    """The question, without markers of pictures; options are appended by `compose_question`."""
    answer: str
    """The reference answer; the letter where there are options."""
    options: tuple[str, ...] = ()
    """Texts of the options, the first is A."""
    aliases: tuple[str, ...] = ()
    """Other texts that are right too."""
    pictures: tuple[bytes | str, ...] = ()
    """Encoded files, or paths below the folder of pictures."""
    picture_field: str = "image"
    """The field that the pictures stand in, for the message of a fault."""
    own_id: str | None = None
    """The id that the file gives the row."""
    family: str | None = None
    """perception, reasoning, search, integration or text, where the row says so."""
    answer_type: AnswerType | None = None
    """Where the row says so."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its place."""

    number: int
    """Counted from 1 over all files of the source, damaged rows included."""
    content: PublishedRow | RowFault


def compose_question(question: str, options: Sequence[str]) -> str:
    r"""Return the question with its options below it, one per line, as curate finds them again.

    A question that lists its options itself stays as it is, and so does one whose options are the
    bare letters: they stand in the picture.

    >>> compose_question("Which one?", ("red", "blue"))
    'Which one?\n(A) red\n(B) blue'
    """
    letters = [chr(ord("A") + at) for at in range(len(options))]
    if list(options) == letters or lists_options(question, len(options)):
        return question
    lines = [f"({letter}) {text}" for letter, text in zip(letters, options, strict=True)]
    return "\n".join([question, *lines])


def lists_options(question: str, num_options: int) -> bool:
    """Return whether a text names all options at the beginning of lines already."""
    found = [match[1] for match in _OPTION_IN_TEXT.finditer(question)]
    return found[-num_options:] == [chr(ord("A") + at) for at in range(num_options)]


def split_options(question: str) -> tuple[str, tuple[str, ...]]:
    r"""Return the question without the options that `compose_question` appended, and the options.

    >>> split_options("Which one?\n(A) red\n(B) blue")
    ('Which one?', ('red', 'blue'))
    >>> split_options("Which one?")
    ('Which one?', ())
    """
    lines = question.split("\n")
    options: list[tuple[str, str]] = []
    while lines and (match := _OPTION_LINE.match(lines[-1])):
        options.insert(0, (match[1], match[2]))
        lines.pop()
    letters = [letter for letter, _ in options]
    if len(options) < 2 or letters != [chr(ord("A") + at) for at in range(len(options))]:
        return question, ()
    return "\n".join(lines), tuple(text for _, text in options)


def strip_markers(text: str, *, num_pictures: int) -> str:
    r"""Return the text without markers of pictures; with several, `<image2>` becomes a name.

    Source files put `<image>` where the picture stands; prompts put pictures in front of the text.

    >>> strip_markers("<image>\nWhich one?\n<image1>", num_pictures=1)
    'Which one?'
    >>> strip_markers("Is <image2> larger?", num_pictures=2)
    'Is picture 2 larger?'
    """

    def name(match: re.Match[str]) -> str:
        alone = match.string[: match.start()].rpartition("\n")[2].strip() == ""
        alone = alone and match.string[match.end() :].partition("\n")[0].strip() == ""
        if match[1] is None or num_pictures < 2 or alone:
            return ""
        return f"picture {match[1]}"

    if not _MARKER.search(text):
        return text
    lines = _MARKER.sub(name, text).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())


def text_of(value: object, field: str) -> str:
    """Return a cell as text, as the file means it: never a guess of a type.

    Raises:
        RowFault: the cell is absent, no text, or too long.
    """
    if value is None:
        raise RowFault(field, "field required")
    if isinstance(value, float) and not math.isfinite(value):
        raise RowFault(field, f"{value} is no text; give the text or leave the row out")
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float):
        text = str(value)
    else:
        raise RowFault(field, f"a {type(value).__name__}, not a text")
    if len(text) > MAX_TEXT_CHARS:
        raise RowFault(field, f"{len(text):,} characters exceed {MAX_TEXT_CHARS:,}")
    # A lone half of a surrogate pair fits no UTF-8 file.
    return text.encode("utf-8", "replace").decode().replace("\r\n", "\n")


def texts_of(value: object, field: str) -> tuple[str, ...]:
    """Return a cell that holds a list of texts; an absent one is empty.

    Raises:
        RowFault: it holds something else.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RowFault(field, f"a {type(value).__name__}, not a list")
    return tuple(text_of(entry, field) for entry in value)


def answers_of(value: object, field: str) -> tuple[str, ...]:
    """Return the texts that are right: the first is the reference, the others are aliases.

    Raises:
        RowFault: there is none.
    """
    found = texts_of(value, field) if isinstance(value, list | tuple) else (text_of(value, field),)
    filled = tuple(dict.fromkeys(text for text in found if text.strip()))
    if not filled:
        raise RowFault(field, "empty", FaultKind.NO_ANSWER)
    return filled


def number_rows(contents: Iterator[PublishedRow | RowFault]) -> Iterator[Line]:
    """Yield the rows with their numbers."""
    for number, content in enumerate(contents, start=1):
        yield Line(number, content)
