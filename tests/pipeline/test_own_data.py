"""Own pictures and a JSON Lines file through the chain, as docs/own_data.md says."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from agentic_vlm.params import merge_params, parse_params, read_yaml
from agentic_vlm.schema import CuratedSample, RawSample, Rejection, RejectReason, ScoredAnswer
from agentic_vlm.store import read_records

ROOT = Path(__file__).parents[2]
COLOURS = ("red", "green", "blue", "orange", "purple")
STAGES = ("ingest", "curate", "probe", "allocate")


def write_own_data(folder: Path) -> None:
    """Write fifty pictures of numbered plates, forty to learn from and ten to be scored on."""
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number in range(50):
        colour = COLOURS[number % len(COLOURS)]
        picture = Image.new("RGB", (320, 240), "white")
        draw = ImageDraw.Draw(picture)
        left, top = 17 * number % 200, 29 * number % 130
        draw.rectangle((left, top, left + 100 + number, top + 40 + number), fill=colour)
        draw.text((10, 10), f"plate {number}", fill="black", font_size=20 + number % 9)
        name = f"{number:03d}.{('png', 'jpg', 'webp')[number % 3]}"
        picture.save(folder / "pictures" / name)
        rows.append(
            {"question": f"Which colour is plate {number}?", "answer": colour, "image": name}
        )
    (folder / "pictures" / "broken.jpg").write_bytes(b"no picture")
    bad = [
        json.dumps({"question": "Which colour?", "answer": "red", "image": "broken.jpg"}),
        json.dumps({"question": "Which colour?", "answer": " ", "image": rows[0]["image"]}),
        "{no json",
    ]
    lines = [json.dumps(row) for row in rows]
    (folder / "train.jsonl").write_text("\n".join([*lines[:40], *bad]) + "\n")
    (folder / "test.jsonl").write_text("\n".join(lines[40:]) + "\n")


def overlay_of_the_document() -> str:
    (overlay,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "own_data.md").read_text(), re.S)
    return overlay


def test_the_overlay_of_the_document_is_valid(tmp_path):
    (tmp_path / "own.yaml").write_text(overlay_of_the_document())
    overlay = read_yaml(tmp_path / "own.yaml")
    params = parse_params(merge_params(read_yaml(ROOT / "params.yaml"), overlay), where="own")
    assert params.evaluate.suites == ("pocket", "own")


@pytest.fixture(scope="module")
def own_project(make_tiny_project, run_stage, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("own")
    write_own_data(root / "own")
    jsonl = "type: jsonl, images: own/pictures, family: perception"
    world = json.dumps(read_yaml(ROOT / "flows" / "recipes" / "tiny.yaml")["ingest"]["sources"][0])
    make_tiny_project(
        root,
        f"ingest.sources=[{world}, {{{jsonl}, name: own, path: own/train.jsonl, suite: null}}, "
        f"{{{jsonl}, name: own_test, path: own/test.jsonl, suite: own}}]",
        "evaluate.suites=[own]",
        "evaluate.modes.base=[agent]",
    )
    for name in STAGES:
        run_stage(name, root)
    run_stage("evaluate", root, variant="base")
    return root


@pytest.mark.slow
def test_good_rows_become_samples_and_bad_ones_rejections(own_project):
    raw = own_project / "data" / "raw"
    samples = [row for row in read_records(raw / "records", RawSample) if row.source == "own"]
    assert len(samples) == 40
    reasons = {row.reason: row for row in read_records(raw / "rejections", Rejection)}
    assert set(reasons) == {
        RejectReason.BROKEN_IMAGE,
        RejectReason.EMPTY_ANSWER,
        RejectReason.MALFORMED_ROW,
    }
    assert "own/train.jsonl, row 41, field 'image'" in reasons[RejectReason.BROKEN_IMAGE].evidence


@pytest.mark.slow
def test_own_samples_reach_a_pool(own_project):
    rows = [
        row
        for pool in ("sft", "rl")
        for row in read_records(own_project / "data" / "pools" / pool / "records", CuratedSample)
    ]
    assert any(row.source == "own" for row in rows)


@pytest.mark.slow
def test_every_own_question_is_scored(own_project):
    scores = read_records(own_project / "data" / "scores" / "base" / "scores", ScoredAnswer)
    assert len(scores) == 10
    assert {score.suite for score in scores} == {"own"}
