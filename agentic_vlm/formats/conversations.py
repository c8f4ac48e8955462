"""LLaMA-Factory's `messages` + `images`, as DeepEyesV2-SFT publishes it; read and written.

A list of objects in a JSON file, or one object per line: `messages` [{role, content}] with tool
observations as `user` messages, `images` [path], one per `<image>` marker in reading order.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentic_vlm.errors import RecordError
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.pictures import pictures_of
from agentic_vlm.formats.plain import iter_json_lines, require_file
from agentic_vlm.formats.row import FaultKind, Line, PublishedRow, RowFault, strip_markers, text_of

MARKER = "<image>"
_ROLES = {"human": "user", "gpt": "assistant", "observation": "user"}
_READ_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation, checked: roles alternate, markers equal pictures."""

    system: str
    """Empty where there is none."""
    messages: tuple[tuple[str, str], ...]
    """(role, text) from the first user message to the last of the assistant."""
    pictures: tuple[bytes | str, ...]
    """Pictures in the order of their markers."""
    own_id: str | None = None
    question: str | None = None
    """The bare question, where the row gives it beside its messages, as our export does."""
    answer: str | None = None
    """The reference answer, likewise."""

    @property
    def num_prompt_pictures(self) -> int:
        """How many pictures belong to the first user message."""
        return self.messages[0][1].count(MARKER)


@dataclass(frozen=True, slots=True)
class ConversationLine:
    """A conversation with its place."""

    number: int
    content: Conversation | RowFault


def iter_conversations(path: Path) -> Iterator[ConversationLine]:
    """Yield the conversations of a file, one at a time.

    Raises:
        ArtifactMissing: there is no such file.
        RecordError: it is neither a JSON list nor JSON Lines.
    """
    for number, content in _iter_objects(path):
        if isinstance(content, RowFault):
            yield ConversationLine(number, content)
            continue
        try:
            yield ConversationLine(number, _to_conversation(content))
        except RowFault as fault:
            yield ConversationLine(number, fault)


def iter_conversation_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield question and answer of each conversation, as samples to probe or to train on."""
    for line in iter_conversations(path):
        if isinstance(line.content, RowFault):
            yield Line(line.number, line.content)
            continue
        try:
            yield Line(line.number, _to_row(line.content))
        except RowFault as fault:
            yield Line(line.number, fault)


def question_of_prompt(prompt: str, *, num_pictures: int) -> str:
    """Return the question inside a user message: what stands before the demand for tags."""
    text = strip_markers(prompt, num_pictures=num_pictures)
    for mark in ("\nThink", "\n\nThink", "\nPlease", "\nYou must", "\nAnswer in"):
        head, found, _ = text.partition(mark)
        if found and head.strip():
            text = head
    return text.strip()


def last_answer(text: str) -> str | None:
    """Return what stands between the last answer tags of a message."""
    start = text.rfind("<answer>")
    end = text.find("</answer>", start)
    if start < 0 or end < 0:
        return None
    return text[start + len("<answer>") : end].strip() or None


def _to_row(talk: Conversation) -> PublishedRow:
    answer = talk.answer or last_answer(talk.messages[-1][1])
    if answer is None:
        raise RowFault("messages", "the last message holds no <answer>", FaultKind.NO_ANSWER)
    num_pictures = talk.num_prompt_pictures
    prompt = talk.messages[0][1]
    question = talk.question or question_of_prompt(prompt, num_pictures=num_pictures)
    if not question:
        raise RowFault("messages", "the first user message is empty", FaultKind.NO_QUESTION)
    return PublishedRow(
        question=question,
        answer=answer,
        pictures=talk.pictures[:num_pictures],
        picture_field="images",
        own_id=talk.own_id,
    )


def _to_conversation(content: Mapping[str, object]) -> Conversation:
    field = "messages" if "messages" in content else "conversations"
    given = content.get(field)
    if not isinstance(given, list) or not given:
        raise RowFault("messages", "field required" if given is None else "no list of messages")
    messages = [_message(entry, f"{field}.{at}") for at, entry in enumerate(given)]
    system = content.get("system")
    system = system if isinstance(system, str) else ""
    if messages[0][0] == "system":
        system = messages.pop(0)[1]
    wanted = ["user", "assistant"] * len(messages)
    roles = [role for role, _ in messages]
    if not messages or roles != wanted[: len(roles)] or roles[-1] != "assistant":
        raise RowFault(field, f"roles do not alternate from user to assistant: {roles}"[:200])
    pictures = pictures_of(content.get("images"), "images")
    num_markers = sum(text.count(MARKER) for _, text in messages)
    if num_markers != len(pictures):
        what = f"{num_markers} <image> marker(s), but {len(pictures)} picture(s)"
        raise RowFault("images", what, FaultKind.PICTURE)
    given_texts = {name: content.get(name) for name in ("id", "question", "answer")}
    texts = {name: None if v is None else text_of(v, name) for name, v in given_texts.items()}
    return Conversation(
        system=system,
        messages=tuple(messages),
        pictures=pictures,
        own_id=texts["id"],
        question=texts["question"],
        answer=texts["answer"],
    )


def _message(entry: object, field: str) -> tuple[str, str]:
    if not isinstance(entry, Mapping):
        raise RowFault(field, "no message")
    role = entry.get("role", entry.get("from"))
    role = _ROLES.get(str(role), str(role))
    return role, text_of(entry.get("content", entry.get("value")), field)


def _iter_objects(path: Path) -> Iterator[tuple[int, Mapping[str, object] | RowFault]]:
    require_file(path)
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        yield from iter_json_lines(path)
        return
    for number, content in enumerate(_iter_list(path), start=1):
        if isinstance(content, dict):
            yield number, content
        else:
            yield number, RowFault("", f"a {type(content).__name__}, not an object")


def _iter_list(path: Path) -> Iterator[object]:
    """Yield the members of a JSON list without holding the whole list."""
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = file.read(_READ_CHARS).lstrip().removeprefix("[")
        while not (text := text.lstrip(" \t\r\n,")).startswith("]"):
            try:
                content, end = decoder.raw_decode(text)
            except json.JSONDecodeError as fault:
                # The next member may be cut off at the end of what was read.
                piece = file.read(max(_READ_CHARS, len(text)))
                if not piece:
                    what = f"no JSON list: {fault.msg}"
                    raise RecordError(str(path), what, "correct the file") from fault
                text += piece
                continue
            yield content
            text = text[end:]


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """What is written for one trajectory."""

    row_id: str
    question: str
    answer: str
    system: str
    messages: tuple[tuple[str, str], ...]
    """(role, text), user first."""
    pictures: tuple[tuple[str, bytes], ...]
    """(file name, encoded file), one per marker."""


def write_conversations(folder: Path, rows: Iterable[ConversationRow], *, name: str) -> int:
    """Write `<name>.json`, `dataset_info.json` and `images/`, and return the number of rows.

    Raises:
        ValueError: the markers of a row are not its pictures.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    num_rows = 0
    with (folder / f"{name}.json").open("w", encoding="utf-8") as file:
        file.write("[")
        for row in rows:
            num_markers = sum(text.count(MARKER) for _, text in row.messages)
            if num_markers != len(row.pictures):
                raise ValueError(
                    f"{row.row_id}: {num_markers} markers, {len(row.pictures)} pictures"
                )
            for picture, encoded in row.pictures:
                (images / picture).write_bytes(encoded)
            file.write(",\n" if num_rows else "\n")
            json.dump(_to_object(row), file, ensure_ascii=False)
            num_rows += 1
        file.write("\n]\n")
    _write_dataset_info(folder, name)
    return num_rows


def _to_object(row: ConversationRow) -> dict[str, object]:
    system = [("system", row.system)] if row.system else []
    messages = [{"role": role, "content": text} for role, text in (*system, *row.messages)]
    pictures = [f"images/{picture}" for picture, _ in row.pictures]
    return {
        "id": row.row_id,
        "question": row.question,
        "answer": row.answer,
        "messages": messages,
        "images": pictures,
    }


def _write_dataset_info(folder: Path, name: str) -> None:
    entry = {
        "file_name": f"{name}.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    text = json.dumps({name: entry}, indent=2) + "\n"
    (folder / "dataset_info.json").write_text(text, encoding="utf-8")
