"""The score table at the end of a run."""

import pytest

from agentic_vlm.analysis.scores import parse_summary
from agentic_vlm.analysis.table import score_table
from agentic_vlm.analysis.tables import escape
from agentic_vlm.errors import RecordError
from agentic_vlm.evaluation.summary import summarize


@pytest.fixture
def summary(make_score):
    rows = [
        make_score(sample_id=f"s{number}", model=model, mode=mode)
        for number in range(4)
        for model, mode in (("base", "direct"), ("base", "agent"), ("sft", "agent"))
    ]
    return summarize(rows, num_bootstrap=100, seed=0)


def test_models_stand_in_the_order_of_the_flow(summary):
    text = score_table(summary, None)
    places = [text.index(name) for name in ("base, no tools", "base, tools", "SFT")]
    assert places == sorted(places)
    assert "100.0 (51.0-100.0)" in text


def test_questions_by_ability_stand_below_with_intervals(make_score):
    flags = ("perception", "reason", "search")
    rows = [make_score(sample_id=f"s{n}", model="rl", flags=flags[: n % 4]) for n in range(8)]
    text = score_table(summarize(rows, num_bootstrap=100, seed=0), None)
    lines = [line.split() for line in text.splitlines()]
    assert ["average", "6", "100.0", "(61.0-100.0)"] in lines
    assert ["integration", "2", "100.0", "(34.2-100.0)"] in lines
    assert "integration" not in score_table(
        summarize([make_score()], num_bootstrap=100, seed=0), None
    )


def test_seconds_are_listed_in_the_order_of_the_runs_and_added_up(summary):
    timings = {
        "curate": {"wall_s": 1.5, "peak_memory_mb": 90.0, "started_at": "2020-01-01T00:01"},
        "ingest": {"wall_s": 2.0, "peak_memory_mb": 80.0, "started_at": "2020-01-01T00:00"},
    }
    text = score_table(summary, timings)
    assert text.index("ingest") < text.index("curate")
    assert "3.5" in text


def test_without_scores_it_says_which_stage_is_missing():
    assert "no scores yet" in score_table(None, None)


def test_it_says_where_to_look_next(summary):
    text = score_table(summary, {})
    for place in ("report.md", "agentic_vlm.store.query", "agentic_vlm.ask"):
        assert place in text


def test_answers_without_verdict_are_mentioned(make_score):
    rows = [make_score(), make_score(sample_id="s1", verdict="ungraded")]
    text = score_table(summarize(rows, num_bootstrap=100, seed=0), None)
    assert "1 answers have no verdict" in text


def test_a_foreign_summary_is_refused():
    with pytest.raises(RecordError, match=r"metrics/summary\.json, models"):
        parse_summary({})


def test_markup_in_names_stays_text():
    assert escape("[x](y)\n| `a`") == "&#91;x&#93;(y) &#124; &#96;a&#96;"
