"""verl's Parquet, as MMSearch-R1 and DeepEyesV2-RL publish it; read and written.

Fields: `prompt` (chat list), `images` (list of {bytes}), `reward_model` {ground_truth,
candidate_answers as JSON text, style}, `data_source`, `extra_info` {index, question, answer}.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.parquet import iter_cells
from agentic_vlm.formats.pictures import pictures_of
from agentic_vlm.formats.row import (
    FaultKind,
    Line,
    PublishedRow,
    RowFault,
    answers_of,
    strip_markers,
    text_of,
    texts_of,
)

_FAMILY_WORDS = {
    "perception": "perception",
    "vstar": "perception",
    "reason": "reasoning",
    "math": "reasoning",
    "search": "search",
    "fvqa": "search",
    "infoseek": "search",
}
_SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("images", pa.list_(pa.struct([("bytes", pa.binary())]))),
        ("ability", pa.string()),
        ("env_name", pa.string()),
        (
            "reward_model",
            pa.struct(
                [
                    ("style", pa.string()),
                    ("ground_truth", pa.string()),
                    ("candidate_answers", pa.string()),
                ]
            ),
        ),
        (
            "extra_info",
            pa.struct([("index", pa.string()), ("question", pa.string()), ("answer", pa.string())]),
        ),
    ]
)
_ROWS_PER_GROUP = 64


def iter_verl_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of a Parquet file or folder in verl's form.

    Raises:
        ArtifactMissing: there is no such file.
        RecordError: a file is damaged.
    """
    for number, cells in enumerate(iter_cells(path), start=1):
        try:
            yield Line(number, _to_row(cells))
        except RowFault as fault:
            yield Line(number, fault)


def _to_row(cells: Mapping[str, object]) -> PublishedRow:
    extra = _struct(cells, "extra_info", is_required=False)
    reward = _struct(cells, "reward_model")
    pictures = pictures_of(cells.get("images"), "images")
    answers = answers_of(reward.get("ground_truth"), "reward_model.ground_truth")
    candidates = _candidates(reward.get("candidate_answers"))
    source = cells.get("data_source")
    index = extra.get("index")
    return PublishedRow(
        question=_question(cells, extra, num_pictures=len(pictures)),
        answer=answers[0],
        aliases=tuple(dict.fromkeys(text for text in (*answers[1:], *candidates) if text.strip())),
        pictures=pictures,
        picture_field="images",
        own_id=None if index in (None, "") else text_of(index, "extra_info.index"),
        family=_family(source if isinstance(source, str) else ""),
    )


def _struct(
    cells: Mapping[str, object], name: str, *, is_required: bool = True
) -> Mapping[str, object]:
    value = cells.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as fault:
            raise RowFault(name, f"no JSON: {fault}") from fault
    if isinstance(value, Mapping):
        return value
    if value is None and not is_required:
        return {}
    raise RowFault(name, "field required" if value is None else "no struct")


def _question(
    cells: Mapping[str, object], extra: Mapping[str, object], *, num_pictures: int
) -> str:
    """Return the bare question: `extra_info` holds it without the prompt around it."""
    question = extra.get("question")
    if not isinstance(question, str) or not question.strip():
        turns = cells.get("prompt")
        if not isinstance(turns, Sequence) or isinstance(turns, str):
            raise RowFault("prompt", "field required" if turns is None else "no list of messages")
        asked = [turn for turn in turns if isinstance(turn, Mapping) and turn.get("role") == "user"]
        if not asked:
            raise RowFault("prompt", "no user message", FaultKind.NO_QUESTION)
        question = text_of(asked[-1].get("content"), "prompt")
    question = strip_markers(text_of(question, "prompt"), num_pictures=num_pictures)
    if not question.strip():
        raise RowFault("prompt", "empty", FaultKind.NO_QUESTION)
    return question


def _candidates(value: object) -> tuple[str, ...]:
    """Return other right answers: JSON text of a list, a list, or nothing."""
    field = "reward_model.candidate_answers"
    if isinstance(value, str):
        if not value.strip():
            return ()
        try:
            value = json.loads(value)
        except ValueError as fault:
            raise RowFault(field, f"no JSON: {fault}") from fault
    return texts_of(value, field)


def _family(source: str) -> str | None:
    return next((family for word, family in _FAMILY_WORDS.items() if word in source.lower()), None)


@dataclass(frozen=True, slots=True)
class VerlRow:
    """What is written for one sample."""

    row_id: str
    question: str
    answer: str
    aliases: tuple[str, ...]
    family: str
    pictures: tuple[bytes, ...]
    system: str = ""
    """The system prompt that the policy is trained with; empty for none."""
    prompt: str = ""
    """The user message, with `<image>` where a picture stands; empty: markers and question."""


def write_verl(path: Path, rows: Iterable[VerlRow]) -> int:
    """Write a Parquet file for verl, a few rows at a time, and return the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    num_rows = 0
    chunk: list[dict[str, object]] = []
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for row in rows:
            chunk.append(_to_cells(row))
            num_rows += 1
            if len(chunk) == _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(chunk, schema=_SCHEMA))
                chunk = []
        writer.write_table(pa.Table.from_pylist(chunk, schema=_SCHEMA))
    return num_rows


def _to_cells(row: VerlRow) -> dict[str, object]:
    user = row.prompt or "<image>\n" * len(row.pictures) + row.question
    prompt = [{"role": "system", "content": row.system}] if row.system else []
    aliases = json.dumps(list(row.aliases), ensure_ascii=False)
    return {
        "data_source": row.family,
        "prompt": [*prompt, {"role": "user", "content": user}],
        "images": [{"bytes": picture} for picture in row.pictures],
        "ability": row.family,
        "env_name": "deepeyes_v2",
        "reward_model": {
            "style": "rule",
            "ground_truth": row.answer,
            "candidate_answers": aliases,
        },
        "extra_info": {"index": row.row_id, "question": row.question, "answer": row.answer},
    }
