import json
import os
from collections import Counter
from pathlib import Path

import pytest
from pyarrow.parquet import read_table

from agentic_vlm.params import read_yaml
from agentic_vlm.schema import CuratedSample, Probe, ProbeMode, RawSample, Rejection, Verdict
from agentic_vlm.store import ImageStore, read_records, write_records
from stages import allocate, curate, ingest


@pytest.fixture
def small(project, make_image):
    """A project with a small world and a file with a planted fault of each kind."""
    (project / "pictures").mkdir()
    make_image("red").save(project / "pictures" / "a.png")
    rows = [
        {"question": "What is on it?", "answer": "nothing", "image": "a.png"},
        {"question": "What  is on it?", "answer": "nothing", "image": "a.png"},
        {"question": "What?", "answer": "", "image": "a.png"},
        {"question": "What?", "answer": "x", "image": "b.png"},
        {"question": "What?", "answer": "x"},
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (project / "rows.jsonl").write_text(f"{text}no json\n")
    params = read_yaml(project / "params.yaml")
    few = {"perception": 4, "reasoning": 4, "search": 4, "integration": 2, "text": 2}
    counts = {"num_train": few, "num_eval_tool": few, "num_eval_direct": few}
    world = {**params["ingest"]["sources"][0], **counts, "num_entities": 60, "num_articles": 80}
    mine = {"type": "jsonl", "name": "mine", "path": "rows.jsonl", "images": "pictures"}
    mine |= {"suite": None, "family": "reasoning"}
    params["ingest"]["sources"] = [world, mine]
    params["allocate"]["rl_unsolved_share"] = 0.25
    (project / "params.yaml").write_text(json.dumps(params))
    return project


def test_ingest_and_curate_keep_their_books(small):
    first = ingest.STAGE.execute(ingest.run, root=small)
    assert first.num_in == 16 + 32 + 6
    assert first.left_out == {"empty_answer": 1, "broken_image": 1, "malformed_row": 1}
    raw = read_records(small / "data/raw/records", RawSample)
    store = ImageStore.open(small / "data/raw/images")
    assert all(ref.sha256 in store for sample in raw for ref in sample.images)
    second = curate.STAGE.execute(curate.run, root=small)
    rejected = read_records(small / "data/curated/rejections", Rejection)
    assert second.num_in == len(raw) == second.num_out + len(rejected)
    assert sum(row.row_id.startswith("mine:") for row in rejected) == 1


def test_two_runs_of_ingest_write_the_same_bytes(small):
    def snapshot():
        ingest.STAGE.execute(ingest.run, root=small)
        return {path: path.read_bytes() for path in (small / "data").rglob("*") if path.is_file()}

    assert snapshot() == snapshot()


def test_allocate_keeps_its_books(small):
    ingest.STAGE.execute(ingest.run, root=small)
    curate.STAGE.execute(curate.run, root=small)
    samples = read_records(small / "data/curated/records", CuratedSample)
    probes = [
        Probe(
            sample_id=sample.sample_id,
            mode=mode,
            attempt=number,
            is_needed=True,
            verdict=Verdict.CORRECT
            if mode is ProbeMode.AGENT and sample.family == "search"
            else Verdict.INCORRECT,
        )
        for sample in samples
        for mode in ProbeMode
        for number in range(8)
    ]
    write_records(
        small / "data/probes/records", probes, Probe, key=lambda row: (row.sample_id, row.attempt)
    )
    report = allocate.STAGE.execute(allocate.run, root=small)
    assert report.num_out == report.num_in == len(samples)
    assert report.summary["num_tool_optional"] == {"sft": 0, "rl": 0}
    rl = read_records(small / "data/pools/rl/records", CuratedSample)
    num_helped = sum(sample.family == "search" for sample in samples)
    num_unsolved = report.summary["num_unsolved_in_rl"]
    assert sum(sample.family == "search" for sample in rl) == num_helped
    assert num_unsolved == len(rl) - num_helped == round(0.25 * (len(samples) - num_helped))


def test_published_files_and_registered_sources_come_in_through_the_stage(small):
    params = read_yaml(small / "params.yaml")
    (small / "rows.csv").write_text("question,answer,file_name\nWhat?,NA,pictures/a.png\n")
    asked = {"id": "q", "question": "Who founded Ostrava?", "answers": [{"text": "Ann"}]}
    paragraph = {"context": "Ostrava was founded by Ann.", "qas": [asked]}
    squad = {"data": [{"title": "Ostrava", "paragraphs": [paragraph]}]}
    (small / "squad.json").write_text(json.dumps(squad))
    known = {"images": None, "columns": {}, "share": 1.0, "family": "text", "suite": None}
    mine = {**known, "type": "csv", "name": "own_csv", "path": "rows.csv"}
    registered = {"type": "registered", "name": "wiki", "suite": "wiki"}
    params["ingest"]["sources"] += [mine, registered]
    (small / "params.yaml").write_text(json.dumps(params))
    wiki = {**known, "type": "squad", "path": "squad.json", "suite": "wiki"}
    entry = {"title": "Wiki", "homepage": "h", "licence": "CC0", "split": "test", "source": wiki}
    (small / "data").mkdir(exist_ok=True)
    (small / "data/sources.yaml").write_text(json.dumps({"wiki": entry}))
    report = ingest.STAGE.execute(ingest.run, root=small)
    assert report.num_in == 16 + 32 + 6 + 2
    raw = read_records(small / "data/raw/records", RawSample)
    (row,) = (sample for sample in raw if sample.source == "own_csv")
    assert (row.answer, len(row.images)) == ("NA", 1)
    (held_out,) = read_records(small / "data/suites/wiki/records", RawSample)
    assert (held_out.answer, held_out.answer_type) == ("Ann", "text")
    articles = read_table(small / "data/corpus/articles").to_pylist()
    assert "Ostrava was founded by Ann." in {article["text"] for article in articles}


SAMPLES = Path(
    os.environ.get("AGENTIC_VLM_SAMPLES", Path(__file__).parents[4] / "shared" / "samples")
)
REAL = {
    "math_vision": ("math_vision", "math_vision/test.jsonl", 240),
    "gsm8k": ("gsm8k", "gsm8k/test.jsonl", 300),
    "xquad": ("squad", "xquad/xquad.en.json", 1190),
    "fvqa": ("verl", "fvqa/mini_data.parquet", 5),
}


@pytest.mark.slow
@pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="real samples are absent; name their folder in AGENTIC_VLM_SAMPLES"
)
def test_real_rows_pass_all_filters_of_both_stages_or_leave_with_a_reason(small):
    params = read_yaml(small / "params.yaml")
    known = {"images": None, "columns": {}, "share": 1.0, "family": "reasoning", "suite": None}
    params["ingest"]["sources"] = params["ingest"]["sources"][:1] + [
        {**known, "type": kind, "name": name, "path": str(SAMPLES / path)}
        for name, (kind, path, _) in REAL.items()
    ]
    (small / "params.yaml").write_text(json.dumps(params))
    first = ingest.STAGE.execute(ingest.run, root=small)
    second = curate.STAGE.execute(curate.run, root=small)
    assert first.num_in == first.num_out + sum(first.left_out.values())
    assert second.num_in == second.num_out + sum(second.left_out.values())
    kept = Counter(
        row.source for row in read_records(small / "data/curated/records", CuratedSample)
    )
    lost = Counter(
        row.row_id.split(":")[0]
        for folder in ("raw", "curated")
        for row in read_records(small / "data" / folder / "rejections", Rejection)
    )
    assert {name: kept[name] + lost[name] for name in REAL} == {
        name: num_rows for name, (_, _, num_rows) in REAL.items()
    }
    assert {name: kept[name] / num_rows for name, (_, _, num_rows) in REAL.items()} == {
        name: pytest.approx(1.0, abs=0.05) for name in REAL
    }
