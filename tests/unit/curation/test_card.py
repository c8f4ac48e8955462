import json

from agentic_vlm.curation.card import write_card
from agentic_vlm.params import IngestParams, JsonlSource, RegisteredSource
from agentic_vlm.schema import CuratedSample, RawSample, Rejection, RejectReason
from agentic_vlm.store import write_records


def key(row):
    return (row.source_row_id,)


def test_a_card_names_sources_licences_counts_and_matches(tmp_path, make_sample):
    samples = [make_sample(source="gsm8k", source_row_id=str(at)) for at in range(3)]
    raw = [RawSample.model_validate(row.model_dump()) for row in samples]
    write_records(tmp_path / "data/raw/records", raw, RawSample, key=key)
    write_records(tmp_path / "data/curated/records", samples[:2], CuratedSample, key=key)
    match = Rejection(
        stage="curate",
        row_id="gsm8k:2",
        reason=RejectReason.CONTAMINATED,
        evidence="equals pocket/world:7 | x",
    )
    write_records(
        tmp_path / "data/curated/rejections", [match], Rejection, key=lambda row: (row.row_id,)
    )
    (tmp_path / "metrics").mkdir()
    figures = {"num_in": 3, "num_out": 2, "left_out": {"contaminated": 1}}
    (tmp_path / "metrics/curate.json").write_text(json.dumps(figures))
    source = "{type: gsm8k, path: p}"
    entry = f"gsm8k: {{title: GSM8K, homepage: h, licence: MIT, split: train, source: {source}}}"
    (tmp_path / "data/sources.yaml").write_text(entry)
    sources = (RegisteredSource(name="gsm8k"), JsonlSource(name="own", path="p"))
    card = write_card(tmp_path, IngestParams(sources=sources))
    assert "| GSM8K | MIT | train | 3 | 2 |" in card
    assert "| own | as its owner says | train | 0 | 0 |" in card
    assert 'curate["curate: 2 of 3"]' in card
    assert "| curate | contaminated | 1 | equals pocket/world:7 \\| x |" in card
    assert "| gsm8k:2 | equals pocket/world:7 \\| x |" in card
    assert "has not been probed" in card
