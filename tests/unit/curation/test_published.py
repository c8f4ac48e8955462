"""Published rows to samples: the same ids from every format, and nothing lost."""

import base64
import csv
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentic_vlm.curation.intake import iter_file_source
from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.curation.registry import REGISTRY, read_registry, resolve
from agentic_vlm.errors import ParamsError
from agentic_vlm.formats.conversations import ConversationRow, write_conversations
from agentic_vlm.formats.verl import VerlRow, write_verl
from agentic_vlm.params import CurateParams, FileSource, RegisteredSource
from agentic_vlm.schema import CuratedSample, RawSample, Rejection, RejectReason
from agentic_vlm.store import ImageWriter

ROOT = Path(__file__).parents[3]
SAMPLES = Path(os.environ.get("AGENTIC_VLM_SAMPLES", ROOT.parent / "shared" / "samples"))
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(),
    reason="real samples are absent; name their folder in AGENTIC_VLM_SAMPLES",
)
REAL = {
    "math_vision": ("math_vision", "math_vision/test.jsonl", 240),
    "gsm8k": ("gsm8k", "gsm8k/test.jsonl", 300),
    "xquad": ("squad", "xquad/xquad.en.json", 1190),
    "fvqa": ("verl", "fvqa/mini_data.parquet", 5),
}


def take(tmp_path, kind, path, **fields):
    source = FileSource(type=kind, name="mine", path=str(path), **fields)
    images = ImageWriter(tmp_path / "images")
    return list(iter_file_source(source, root=tmp_path, images=images)), images


@needs_samples
@pytest.mark.parametrize("name", sorted(REAL))
def test_every_real_row_is_curated_or_rejected_with_a_reason(tmp_path, name):
    kind, path, num_rows = REAL[name]
    rows, _ = take(tmp_path, kind, SAMPLES / path)
    assert len(rows) == num_rows
    params = CurateParams()
    done = [normalise_sample(row, params) if isinstance(row, RawSample) else row for row in rows]
    counts = Counter(type(row) for row in done)
    assert counts[CuratedSample] + counts[Rejection] == num_rows
    assert counts[CuratedSample] >= 0.95 * num_rows
    assert all(row.evidence for row in done if isinstance(row, Rejection))


@needs_samples
@pytest.mark.parametrize("form", ["verl", "parquet"])
@pytest.mark.parametrize("name", sorted(REAL))
def test_real_rows_keep_their_ids_when_they_come_in_another_form(tmp_path, name, form):
    kind, path, _ = REAL[name]
    rows, images = take(tmp_path, kind, SAMPLES / path)
    known = [row for row in rows if isinstance(row, RawSample)]
    if form == "verl":
        write_verl(tmp_path / "other.parquet", (verl_row(row, images) for row in known))
    else:
        write_parquet(tmp_path / "other.parquet", known, images)
    found, _ = take(tmp_path, form, "other.parquet")
    assert [getattr(row, "sample_id", row) for row in found] == [row.sample_id for row in known]


def verl_row(row, images):
    pictures = tuple(images.get_bytes(ref.sha256) for ref in row.images)
    return VerlRow(row.source_row_id, row.question, row.answer, row.aliases, row.family, pictures)


def write_parquet(path, rows, images):
    table = [
        {
            "id": row.source_row_id,
            "question": row.question,
            "answer": row.answer,
            "images": [{"bytes": images.get_bytes(ref.sha256), "path": None} for ref in row.images],
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(table), path)


ROWS = [
    {"id": "a1", "question": "Which <b>?", "options": ["None", "NA", "10"], "answer": "B"},
    {"id": "a2", "question": "Häuser, how\nmany?", "options": [], "answer": "007"},
]


def composed(row):
    lines = [f"({letter}) {text}" for letter, text in zip("ABC", row["options"], strict=False)]
    return "\n".join([row["question"], *lines])


@pytest.fixture
def pictures(tmp_path, make_image):
    (tmp_path / "p").mkdir()
    for row, colour in zip(ROWS, ("red", "blue"), strict=True):
        make_image(colour).save(tmp_path / "p" / f"{row['id']}.png")
    return {row["id"]: (tmp_path / "p" / f"{row['id']}.png").read_bytes() for row in ROWS}


def as_json_lines(folder, pictures):
    rows = [{**row, "image": f"p/{row['id']}.png"} for row in ROWS]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "rows.jsonl"


def as_csv(folder, pictures):
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer", "A", "B", "C", "file_name"])
        for row in ROWS:
            options = [*row["options"], "", "", ""][:3]
            name = f"p/{row['id']}.png"
            writer.writerow([row["id"], row["question"], row["answer"], *options, name])
    return "rows.csv"


def as_tsv(folder, pictures):
    with (folder / "rows.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["index", "image", "question", "A", "B", "C", "answer"])
        for row in ROWS:
            options = [*row["options"], "", "", ""][:3]
            encoded = base64.b64encode(pictures[row["id"]]).decode()
            writer.writerow([row["id"], encoded, row["question"], *options, row["answer"]])
    return "rows.tsv"


def as_parquet(folder, pictures):
    rows = [{**row, "image": {"bytes": pictures[row["id"]], "path": None}} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return "rows.parquet"


def as_verl(folder, pictures):
    rows = (
        VerlRow(row["id"], composed(row), row["answer"], (), "search", (pictures[row["id"]],))
        for row in ROWS
    )
    write_verl(folder / "verl.parquet", rows)
    return "verl.parquet"


def as_conversations(folder, pictures):
    rows = [
        ConversationRow(
            row_id=row["id"],
            question=composed(row),
            answer=row["answer"],
            system="",
            messages=(("user", f"<image>\n{composed(row)}"), ("assistant", "<answer>x</answer>")),
            pictures=((f"{row['id']}.png", pictures[row["id"]]),),
        )
        for row in ROWS
    ]
    write_conversations(folder / "talks", rows, name="sft")
    return "talks/sft.json"


FORMS = {
    "csv": as_csv,
    "vlmevalkit": as_tsv,
    "parquet": as_parquet,
    "verl": as_verl,
    "llama_factory": as_conversations,
}


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_the_same_rows_have_the_same_ids_in_every_format(tmp_path, pictures, kind):
    wanted, _ = take(tmp_path, "json_lines", as_json_lines(tmp_path, pictures))
    found, _ = take(tmp_path, kind, FORMS[kind](tmp_path, pictures))
    assert all(isinstance(row, RawSample) for row in (*wanted, *found))
    assert [row.sample_id for row in found] == [row.sample_id for row in wanted]
    assert [row.source_row_id for row in found] == ["a1", "a2"]
    assert [row.question for row in found] == [composed(row) for row in ROWS]


@pytest.mark.parametrize(("num", "options"), [(1, "(A)\n(B)"), (3, "(A) picture 2\n(B) picture 3")])
def test_options_that_are_pictures_give_the_same_ids_in_every_format(
    tmp_path, pictures, num, options
):
    encoded = [pictures["a1"], pictures["a2"], pictures["a1"]][:num]
    row = {"id": "1", "question": "Which?", "answer": "A", "options": ["<image2>", "<image3>"]}
    table = pa.Table.from_pylist([{**row, "images": [{"bytes": one} for one in encoded]}])
    pq.write_table(table, tmp_path / "rows.parquet")
    (wanted,), images = take(tmp_path, "parquet", "rows.parquet")
    assert wanted.question == f"Which?\n{options}"
    write_verl(tmp_path / "verl.parquet", [verl_row(wanted, images)])
    (found,), _ = take(tmp_path, "verl", "verl.parquet")
    assert found.sample_id == wanted.sample_id


def test_a_share_takes_a_part_and_says_so(tmp_path):
    rows = [{"id": str(at), "question": f"q{at}?", "answer": "a"} for at in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, _ = take(tmp_path, "json_lines", "rows.jsonl", share=0.25)
    reasons = Counter(row.reason if isinstance(row, Rejection) else None for row in found)
    assert sum(reasons.values()) == 200
    assert set(reasons) == {None, RejectReason.OVER_SHARE}
    assert 30 < reasons[None] < 70


def test_the_registry_of_the_repository_is_valid():
    entries = read_registry(ROOT)
    assert all(entry.licence and entry.homepage for entry in entries.values())
    source = resolve(RegisteredSource(name="gsm8k"), ROOT)
    assert (source.type, source.name) == ("gsm8k", "gsm8k")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (RegisteredSource(name="nowhere"), "no entry 'nowhere'"),
        (RegisteredSource(name="gsm8k", suite="x"), "suite is None there"),
    ],
)
def test_a_source_that_the_registry_does_not_know_is_refused(source, fault):
    with pytest.raises(ParamsError, match=fault):
        resolve(source, ROOT)


def test_a_faulty_entry_of_the_registry_is_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / REGISTRY).write_text("mine: {title: t, homepage: h, split: s, source: {}}\n")
    with pytest.raises(ParamsError, match=r"data/sources.yaml, entry 'mine', field 'licence'"):
        read_registry(tmp_path)
