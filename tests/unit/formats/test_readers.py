"""Every adapter on files of two to four rows in exactly the published form."""

import base64
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.readers import READERS
from agentic_vlm.formats.row import FaultKind, PublishedRow, RowFault


def jpeg(colour="red"):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "JPEG")
    return file.getvalue()


PICTURE = jpeg()
TEXT = base64.b64encode(PICTURE).decode()


def read(kind, path, **named):
    return [line.content for line in READERS[kind](path, Columns(named))]


def write_tsv(path, header, *rows):
    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"' if '"' in cell or "\n" in cell else cell

    lines = ["\t".join(map(quoted, row)) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_options_that_look_like_nothing_survive_in_a_tsv(tmp_path):
    path = write_tsv(
        tmp_path / "a.tsv",
        ["index", "image", "question", "A", "B", "C", "D", "answer", "category"],
        ["0", TEXT, "Which?", "None", "NA", "10", "nan", "A", "x"],
        ["1", "0", "Of the same\npicture?", "null", "N/A", "1e3", "", "B", "x"],
    )
    first, second = read("vlmevalkit", path)
    assert first.options == ("None", "NA", "10", "nan")
    assert first.pictures == second.pictures == (PICTURE,)
    assert second.options == ("null", "N/A", "1e3")
    assert second.question == "Of the same\npicture?"
    assert (first.own_id, first.answer) == ("0", "A")


@pytest.mark.parametrize("answer", ["None", "NA", "10", "10.0", "007", "nan", "TRUE"])
def test_answers_are_text_as_they_stand(tmp_path, answer):
    path = write_tsv(
        tmp_path / "a.tsv",
        ["index", "image", "question", "answer"],
        ["0", TEXT, "What?", answer],
        ["1", TEXT, "What?", ""],
    )
    first, second = read("vlmevalkit", path)
    assert first.answer == answer
    assert (second.field, second.kind) == ("answer", FaultKind.MALFORMED)


def test_lists_in_cells_of_a_tsv_are_lists(tmp_path):
    path = write_tsv(
        tmp_path / "a.tsv",
        ["index", "image", "question", "choices", "answer"],
        ["0", str([TEXT, TEXT]), "Both?", "['(A) it''s', '(B) not']".replace("''", "\\'"), "A"],
        ["1", TEXT, "Read it", "[]", str(["CENTRE", "center"])],
        ["2", TEXT, "Interval?", "[]", "[1, 2]"],
    )
    both, words, interval = read("vlmevalkit", path)
    assert both.pictures == (PICTURE, PICTURE)
    assert both.options == ("it's", "not")
    assert (words.answer, words.aliases) == ("CENTRE", ("center",))
    assert interval.answer == "[1, 2]"


def test_a_tsv_names_what_is_wrong_with_a_row(tmp_path):
    path = write_tsv(
        tmp_path / "a.tsv",
        ["index", "image", "question", "A", "B", "C", "answer"],
        ["0", "17", "Which?", "x", "y", "", "A"],
        ["1", "!" * 80, "Which?", "x", "y", "", "A"],
        ["2", TEXT, "Which?", "x", "", "z", "A"],
        ["3", "", "Which?", "x", "y", "", "A"],
        ["4", TEXT, "Which?", "x", "y", "z", "A"],
    )
    *faults, good = read("vlmevalkit", path)
    assert [fault.field for fault in faults] == ["image", "image", "C", "image"]
    assert "names row '17'" in faults[0].what
    assert "no base64" in faults[1].what
    assert isinstance(good, PublishedRow)


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_parquet_with_image_structs_and_other_names(tmp_path):
    rows = [
        {"query": "<image>\nWhat?", "gt": 7, "image": {"bytes": PICTURE, "path": "a.jpg"}},
        {"query": "Where?", "gt": None, "image": {"bytes": None, "path": "b.jpg"}},
    ]
    path = write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    first, second = read("parquet", path, question="query", answer="gt")
    assert (first.question, first.answer, first.pictures) == ("What?", "7", (PICTURE,))
    assert second.field == "gt"
    assert read("datasets", tmp_path, question="query", answer="gt")[0].question == "What?"


def test_a_column_that_is_missing_is_named(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [{"q": "What?"}])
    (fault,) = read("parquet", path, question="q", answer="gold")
    assert (fault.field, "no such column" in fault.what) == ("gold", True)
    (fault,) = read("parquet", path, question="q")
    assert (fault.field, fault.what) == ("answer", "field required")


def test_a_number_that_is_none_is_no_answer(tmp_path):
    rows = [{"question": "What?", "answer": float("nan")}, {"question": "What?", "answer": 1.5}]
    nan, number = read("parquet", write_parquet(tmp_path / "a.parquet", rows))
    assert (nan.field, nan.kind) == ("answer", FaultKind.MALFORMED)
    assert number.answer == "1.5"


def test_a_folder_that_datasets_saved(tmp_path):
    table = pa.Table.from_pylist([{"question": "What?", "answers": ["a", "b"]}] * 3)
    path = str(tmp_path / "data-00000-of-00001.arrow")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "cache-1.arrow").write_bytes(b"no table")
    rows = read("datasets", tmp_path)
    assert len(rows) == 3
    assert (rows[0].answer, rows[0].aliases) == ("a", ("b",))


def test_a_damaged_parquet_file_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(RecordError, match=r"a\.parquet"):
        read("parquet", tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_missing_file_is_named(tmp_path, kind):
    with pytest.raises(ArtifactMissing, match="absent"):
        read(kind, tmp_path / "absent")


def verl_row(**changes):
    row = {
        "prompt": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": "<image>\nWho built it?"},
        ],
        "images": [{"bytes": PICTURE}],
        "reward_model": {"ground_truth": "Ann", "candidate_answers": '["A. Lee"]', "style": "rule"},
        "data_source": "mmsearch_r1/fvqa",
    }
    return {**row, **changes}


def test_verl_rows_in_three_dialects(tmp_path):
    extra = {"index": "fvqa_7", "question": "Bare question?", "answer": "Ann"}
    rows = [
        verl_row(extra_info=extra),
        verl_row(extra_info=None, images=None, data_source="reason"),
        verl_row(extra_info=None, reward_model={"ground_truth": "7", "candidate_answers": None}),
        verl_row(extra_info=None, reward_model={"ground_truth": "7", "candidate_answers": "{"}),
        verl_row(extra_info=None, prompt=[]),
    ]
    path = write_parquet(tmp_path / "a.parquet", rows)
    full, bare, no_candidates, bad, empty = read("verl", path)
    assert (full.question, full.own_id, full.family) == ("Bare question?", "fvqa_7", "search")
    assert full.aliases == ("A. Lee",)
    assert (bare.question, bare.pictures, bare.family) == ("Who built it?", (), "reasoning")
    assert no_candidates.answer == "7"
    assert (bad.field, empty.field) == ("reward_model.candidate_answers", "prompt")


def test_math_vision_gsm8k_and_squad(tmp_path):
    vision = {"id": "15", "question": "Which?\n<image1>", "options": ["x", "y"], "answer": "A"}
    vision |= {"image": "images/15.jpg", "level": 2, "solution": None}
    (tmp_path / "v.jsonl").write_text(json.dumps(vision))
    (row,) = read("math_vision", tmp_path / "v.jsonl")
    assert (row.question, row.options, row.pictures) == ("Which?", ("x", "y"), ("images/15.jpg",))

    steps = [{"question": "How many?", "answer": f"<<1+1=2>>2\n#### {n}"} for n in ("1,250", "")]
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, steps)))
    number, none = read("gsm8k", tmp_path / "g.jsonl")
    assert (number.answer, none.kind) == ("1250", FaultKind.NO_ANSWER)

    asked = [{"id": "q1", "question": "Who?", "answers": [{"text": "Ann"}, {"text": "ann lee"}]}]
    asked.append({"id": "q2", "question": "Never?", "answers": []})
    squad = {"data": [{"title": "t", "paragraphs": [{"context": "Ann did.", "qas": asked}]}]}
    (tmp_path / "s.json").write_text(json.dumps(squad))
    known, unknown = read("squad", tmp_path / "s.json")
    assert (known.answer, known.aliases, known.own_id) == ("Ann", ("ann lee",), "q1")
    assert unknown.kind is FaultKind.NO_ANSWER
    with pytest.raises(RecordError, match="not in SQuAD's form"):
        read("squad", tmp_path / "v.jsonl")


def talk(**changes):
    messages = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": "<image>\nWhich colour?\n\nThink step by step."},
        {"role": "assistant", "content": "<think>x</think><code>\n```python\n1\n```\n</code>"},
        {"role": "user", "content": "Code execution result:\n<image>"},
        {"role": "assistant", "content": "<think>so</think><answer>red</answer>"},
    ]
    return {"messages": messages, "images": ["images/a.jpg", "images/b.jpg"], **changes}


@pytest.mark.parametrize("is_list", [True, False])
def test_conversations_as_a_list_or_as_lines(tmp_path, is_list):
    rows = [talk(), talk(images=["images/a.jpg"]), talk(messages=talk()["messages"][:4]), talk()]
    text = json.dumps(rows, indent=1) if is_list else "\n".join(map(json.dumps, rows))
    (tmp_path / "a.json").write_text(text)
    first, few, open_end, last = read("llama_factory", tmp_path / "a.json")
    assert (first.question, first.answer) == ("Which colour?", "red")
    assert first.pictures == ("images/a.jpg",)
    assert few.what == "2 <image> marker(s), but 1 picture(s)"
    assert "do not alternate" in open_end.what
    assert last.question == "Which colour?"


def test_a_long_list_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("agentic_vlm.formats.conversations._READ_CHARS", 64)
    (tmp_path / "a.json").write_text(json.dumps([talk()] * 5))
    assert len(read("llama_factory", tmp_path / "a.json")) == 5
    (tmp_path / "b.json").write_text(json.dumps([talk()] * 2)[:-20])
    with pytest.raises(RecordError, match="no JSON list"):
        read("llama_factory", tmp_path / "b.json")


def test_a_csv_with_a_folder_of_pictures_keeps_its_texts(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        'id,file_name,question,answer\n1,p/a.png,"What, now?",NA\n2,p/b.png,W?,007\n3,x,a,b,c\n'
    )
    first, second, wide = read("csv", path)
    assert (first.question, first.answer, first.pictures) == ("What, now?", "NA", ("p/a.png",))
    assert second.answer == "007"
    assert wide.what == "5 cells under 4 columns"


@pytest.mark.parametrize(
    ("cell", "aliases"), [("", ()), ("crimson", ("crimson",)), ('["a", "b, c"]', ("a", "b, c"))]
)
def test_aliases_in_a_cell_are_one_text_or_a_list(tmp_path, cell, aliases):
    quoted = '"' + cell.replace('"', '""') + '"'
    (tmp_path / "a.csv").write_text(f"question,answer,aliases\nq,red,{quoted}\n")
    (row,) = read("csv", tmp_path / "a.csv")
    assert row.aliases == aliases


def test_texts_that_no_context_can_hold_are_refused(tmp_path):
    rows = [{"question": "x" * 200_001, "answer": "a"}, {"question": "x", "answer": "a"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    long, good = read("json_lines", tmp_path / "a.jsonl")
    assert (long.field, long.what) == ("question", "200,001 characters exceed 200,000")
    assert isinstance(good, PublishedRow)


def test_faults_survive_pickling():
    import pickle

    fault = pickle.loads(pickle.dumps(RowFault("f", "w", FaultKind.PICTURE)))
    assert (fault.field, fault.what, fault.kind) == ("f", "w", FaultKind.PICTURE)
