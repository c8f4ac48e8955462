import json

import pytest

from agentic_vlm.curation.card import write_card
from agentic_vlm.params import IngestParams, JsonlSource, RegisteredSource
from agentic_vlm.schema import (
    CuratedSample,
    Probe,
    ProbeMode,
    RawSample,
    Rejection,
    RejectReason,
    Trajectory,
    Verdict,
)
from agentic_vlm.store import ImageWriter, write_records
from agentic_vlm.vision import decode_image


def key(row):
    return (row.source_row_id,)


@pytest.fixture
def project(tmp_path, make_sample, make_image, make_probe, make_trajectory):
    """Three raw rows, of which two are curated, one of them with a picture of 640 px."""
    with ImageWriter(tmp_path / "data/raw/images") as images:
        ref = images.add(make_image("blue", (640, 320)))
    samples = [
        make_sample(source="gsm8k", source_row_id=str(at), sample_id=f"s{at}") for at in range(3)
    ]
    samples[0] = samples[0].model_copy(
        update={"images": (ref,), "question": "<b>which | colour</b>?", "flags": ("tool_optional",)}
    )
    raw = [RawSample.model_validate(row.model_dump()) for row in samples]
    data = tmp_path / "data"
    write_records(data / "raw/records", raw, RawSample, key=key)
    write_records(data / "curated/records", samples[:2], CuratedSample, key=key)
    match = Rejection(
        stage="curate",
        row_id="gsm8k:2",
        reason=RejectReason.CONTAMINATED,
        evidence="equals pocket/world:7 | x",
    )
    write_records(data / "curated/rejections", [match], Rejection, key=lambda row: (row.row_id,))
    entry = (
        "{title: GSM8K, homepage: h, licence: MIT, split: train, source: {type: gsm8k, path: p}}"
    )
    (data / "sources.yaml").write_text(f"gsm8k: {entry}")
    return tmp_path, samples


def card_of(root, **more):
    sources = (RegisteredSource(name="gsm8k"), JsonlSource(name="own", path="p"))
    ingest = IngestParams(sources=sources)
    write_card(root, ingest, num_attempts=4, folder=root / "card", **more)
    return (root / "card/data_card.md").read_text()


def test_a_card_names_sources_licences_counts_and_matches(project):
    card = card_of(project[0])
    assert "| GSM8K | MIT | train | 1 | 3 | 2 |" in card
    assert "| own | as its owner says | train | 1 | 0 | 0 |" in card
    assert 'curate["curated: 2"]' in card
    assert 'curate -.-> curate_contaminated(["contaminated: 1"])' in card
    assert "| curate | contaminated | 1 | equals pocket/world:7 \\| x |" in card
    assert "| gsm8k:2 | equals pocket/world:7 \\| x |" in card
    assert "has not been probed" in card
    assert "Nothing has been allocated." in card


def test_examples_show_small_pictures_and_no_markup_of_a_sample(project):
    card = card_of(project[0], figures=("figures/a.png",))
    (path,) = (project[0] / "card/data_card").iterdir()
    assert f"(data_card/{path.name})" in card
    assert decode_image(path.read_bytes(), where=path.name).size == (320, 160)
    assert "&lt;b>which \\| colour&lt;/b>?" in card
    assert "<b>" not in card
    assert "![a](figures/a.png)" in card


def test_pools_show_pass_rates_as_ranges_and_what_tools_are_not_needed_for(project, make_probe):
    root, samples = project
    pool = samples[:2]
    write_records(root / "data/pools/rl/records", pool, CuratedSample, key=key)
    write_records(root / "data/pools/sft/records", [], CuratedSample, key=key)
    verdicts = {ProbeMode.DIRECT: "cii", ProbeMode.AGENT: "cc"}
    probes = [
        make_probe(
            sample_id="s0",
            mode=mode,
            attempt=number,
            verdict=Verdict.CORRECT if sign == "c" else Verdict.INCORRECT,
        )
        for mode, signs in verdicts.items()
        for number, sign in enumerate(signs)
    ]
    probes.append(Probe(sample_id="s0", mode=ProbeMode.DIRECT, attempt=3, is_needed=False))
    write_records(
        root / "data/probes/records", probes, Probe, key=lambda row: (row.mode, row.attempt)
    )
    card = card_of(root)
    rates = "25% to 50% (1 samples) | 50% to 100% (1 samples)"
    assert f"| perception/any | {rates} |" in card
    assert f"| rl | gsm8k | perception | 2 | {rates} | 1 |" in card
    assert "Of 1 samples that were solved at least once with tools, 1 (100.0%)" in card
    assert 'probe["probed: 5 attempts, 1 not needed"]' in card


def test_a_paid_teacher_is_divided_by_what_is_kept(project, make_trajectory):
    root, _ = project
    rows = [make_trajectory(trajectory_id=f"t{number}") for number in range(4)]
    for name, kept in (("trajectories", rows), ("sft", rows[:2])):
        write_records(
            root / "data" / name / "records", kept, Trajectory, key=lambda row: (row.trajectory_id,)
        )
    usage = {"num_requests": 8, "input_tokens": 3000, "output_tokens": 1000, "usd": 0.5}
    (root / "metrics").mkdir()
    (root / "metrics/synthesize.json").write_text(json.dumps({"usage": {"gpt": usage}}))
    card = card_of(root)
    assert "| gpt | 8 | 3,000 | 1,000 | 0.5000 |" in card
    assert "Per kept trajectory (2): 0.2500 USD and 2,000 tokens." in card
    assert 'select_sft["lessons: 2"]' in card
