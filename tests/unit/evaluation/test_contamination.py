"""Questions that training sources hold too, as curate words it."""

import pytest

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.evaluation.contamination import Twins, contamination_table, find_twins
from agentic_vlm.params import CurateParams
from agentic_vlm.schema import Rejection, RejectReason, Verdict

LONG = (
    "a farmer has seventeen sheep and buys twelve more from Harriet at the market on Monday, "
    "how many does he have then?"
)


@pytest.fixture
def held_out(make_sample):
    named = {"source": "gsm8k", "split": "gsm8k"}
    return [
        make_sample(**named, sample_id="s1", question=LONG, answer="29", source_row_id="1"),
        make_sample(**named, sample_id="s2", question="Other?", source_row_id="a b/2"),
    ]


def test_what_curate_leaves_out_leads_back_to_the_question(make_sample, held_out):
    check = SuiteFilter(held_out, {}, params=CurateParams()).check
    rows = [
        make_sample(sample_id="s2", question="Other?"),
        make_sample(sample_id="t", question=f"{LONG} Say.", answer="29"),
    ]
    rejections = [found for row in rows if (found := check(row)) is not None]
    assert len(rejections) == 2
    assert find_twins(rejections, held_out) == Twins(frozenset({"s1", "s2"}), 0)


@pytest.mark.parametrize(
    "evidence",
    [
        "equals gsm8k/gsm8k:1",
        "picture 0123456789ab is that of gsm8k/gsm8k:1",
        "shares 'one with two' with gsm8k/gsm8k:1",
        "asks nearly what gsm8k/gsm8k:1 asks: 'what is asks: it?'",
    ],
)
def test_every_wording_names_the_question(evidence, held_out):
    row = Rejection(stage="curate", row_id="r", reason=RejectReason.CONTAMINATED, evidence=evidence)
    assert find_twins([row], held_out) == Twins(frozenset({"s1"}), 0)


def test_other_rejections_are_no_twins_and_unknown_questions_are_counted(held_out):
    rows = [
        Rejection(
            stage="curate", row_id="r", reason=RejectReason.EMPTY_ANSWER, evidence="equals x"
        ),
        Rejection(
            stage="curate", row_id="q", reason=RejectReason.CONTAMINATED, evidence="equals a/b:1"
        ),
    ]
    assert find_twins(rows, held_out) == Twins(frozenset(), 1)
    assert "1 more rows" in contamination_table({}, find_twins(rows, held_out))


def test_scores_stand_with_and_without_the_twins(make_score):
    rows = [
        make_score(sample_id="s1", verdict=Verdict.CORRECT),
        make_score(sample_id="s2", verdict=Verdict.INCORRECT),
    ]
    table = contamination_table({"RL": rows}, Twins(frozenset({"s1"}), 0))
    assert "| RL | 1 | 50.0 (9.5-90.5) | 2 | 0.0 (0.0-79.3) | 1 |" in table
