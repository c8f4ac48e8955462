"""Claims judged on synthetic scores."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.claims import CLAIMS, Arm, Claim, Measure
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.estimates import Estimate, estimate_gap, estimate_mean
from agentic_vlm.analysis.findings import MIN_SAMPLES, GridRun, Outcome, judge_claim
from agentic_vlm.analysis.findings_page import Experiments, render_findings, write_findings
from agentic_vlm.analysis.reasons import explain
from agentic_vlm.evaluation.metrics import compute_difference
from agentic_vlm.schema import Need

SIZE = 100
GAIN = Claim(
    "X", "RL gains.", Measure.ACCURACY, Need.TOOL, Arm("grpo", "rl"), Arm("grpo", "sft")
)  # fmt: skip
FALL = Claim(
    "Y", "RL calls less.", Measure.CALLS, Need.DIRECT, Arm("efficiency", "rl"), Arm("grpo", "rl"),
    is_rise=False,
)  # fmt: skip
NO_WORSE = Claim(
    "Z", "Not worse.", Measure.ACCURACY, Need.DIRECT, Arm("grpo", "rl"), Arm("grpo", "sft"),
    bound=-0.03,
)  # fmt: skip


@pytest.fixture
def answers(make_score):
    """Give a maker of answers of which the first `num_right` are right."""

    def make(model, num_right, *, need="tool", size=SIZE, **fields):
        return [
            make_score(
                **{
                    "model": model, "mode": "agent", "need": need,
                    "sample_id": f"{need}{number:03d}",
                    "verdict": "correct" if number < num_right else "incorrect", **fields,
                }
            )
            for number in range(size)
        ]  # fmt: skip

    return make


def run_of(seed=0, variant="grpo", **columns):
    return GridRun(f"seed-{seed}-{variant}", seed, variant, columns)


def judge(claim, runs, *, seeds=(0,)):
    return judge_claim(claim, runs, seeds=seeds, num_bootstrap=500)


def test_a_clear_gain_at_every_seed_came_out(answers):
    runs = [run_of(seed, sft=answers("sft", 50), rl=answers("rl", 80)) for seed in (0, 1, 2)]
    found = judge(GAIN, runs, seeds=(0, 1, 2))
    assert found.outcome is Outcome.CAME_OUT
    assert found.estimate.mean == pytest.approx(0.3)
    assert [result.runs for result in found.seeds] == [
        ("seed-0-grpo",), ("seed-1-grpo",), ("seed-2-grpo",)
    ]  # fmt: skip


def test_one_seed_without_a_gain_leaves_it_undecided(answers):
    gains = {0: 80, 1: 80, 2: 50}
    runs = [run_of(seed, sft=answers("sft", 50), rl=answers("rl", n)) for seed, n in gains.items()]
    found = judge(GAIN, runs, seeds=(0, 1, 2))
    assert found.outcome is Outcome.UNDECIDED
    assert [result.is_clear for result in found.seeds] == [True, True, False]


def test_a_clear_loss_did_not_come_out(answers):
    found = judge(GAIN, [run_of(sft=answers("sft", 80), rl=answers("rl", 50))])
    assert found.outcome is Outcome.DID_NOT


def test_equal_answers_are_no_gain(answers):
    found = judge(GAIN, [run_of(sft=answers("sft", 50), rl=answers("rl", 50))])
    assert found.outcome is Outcome.DID_NOT


def test_an_interval_on_both_sides_of_the_bound_decides_nothing(answers):
    mixed = answers("rl", 52, size=54) + [
        row.model_copy(update={"sample_id": f"tool{number:03d}"})
        for number, row in enumerate(answers("rl", 0, size=SIZE - 54), start=54)
    ]
    found = judge(GAIN, [run_of(sft=answers("sft", 51), rl=mixed)])
    assert found.estimate.mean == pytest.approx(0.01)
    assert found.outcome is Outcome.UNDECIDED


def test_a_missing_seed_is_undecided_however_clear_the_others_are(answers):
    runs = [run_of(0, sft=answers("sft", 10), rl=answers("rl", 90))]
    found = judge(GAIN, runs, seeds=(0, 1))
    assert (found.outcome, len(found.seeds), found.num_seeds) == (Outcome.UNDECIDED, 1, 2)


def test_no_runs_have_no_estimate():
    found = judge(GAIN, [])
    assert (found.outcome, found.estimate, found.seeds) == (Outcome.UNDECIDED, None, ())


def test_too_few_samples_decide_nothing(answers):
    size = MIN_SAMPLES - 1
    runs = [run_of(sft=answers("sft", 0, size=size), rl=answers("rl", size, size=size))]
    assert judge(GAIN, runs).outcome is Outcome.UNDECIDED


def test_a_fall_of_calls_between_two_experiments_came_out(answers):
    runs = [
        run_of(variant="grpo", rl=answers("rl", 50, need="direct", num_calls=2)),
        run_of(variant="efficiency", rl=answers("rl", 50, need="direct", num_calls=1)),
    ]
    found = judge(FALL, runs)
    assert (found.outcome, found.estimate.mean) == (Outcome.CAME_OUT, -1.0)
    assert found.seeds[0].runs == ("seed-0-efficiency", "seed-0-grpo")


@pytest.mark.parametrize(
    ("num_right", "outcome"),
    [(80, Outcome.CAME_OUT), (50, Outcome.DID_NOT), (78, Outcome.UNDECIDED)],
)
def test_not_worse_is_judged_against_its_bound(answers, num_right, outcome):
    first = answers("rl", num_right, need="direct")
    found = judge(NO_WORSE, [run_of(sft=answers("sft", 80, need="direct"), rl=first)])
    assert found.outcome is outcome


def test_only_questions_of_the_claimed_kind_count(answers):
    direct = answers("rl", 0, need="direct")
    found = judge(GAIN, [run_of(sft=answers("sft", 50), rl=answers("rl", 80) + direct)])
    assert found.estimate.n == SIZE


def test_outages_and_doubts_are_not_paired(answers):
    rows = answers("rl", 80)
    rows[0] = rows[0].model_copy(update={"stop_reason": "infrastructure", "verdict": "ungraded"})
    runs = [run_of(sft=answers("sft", 50), rl=rows)]
    assert judge(GAIN, runs).estimate.n == SIZE - 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_estimate_is_that_of_the_summary(verdicts):
    gains = [float(ours) - float(theirs) for ours, theirs in verdicts]
    found = estimate_mean(gains, num_bootstrap=200, seed=0)
    mean = sum(gains) / len(gains)
    assert found.mean == pytest.approx(mean)
    assert found.low <= found.mean + 1e-9
    assert found.high >= found.mean - 1e-9


def test_the_interval_agrees_with_the_paired_bootstrap_of_the_summary(answers):
    sft, rl = answers("sft", 50), list(reversed(answers("rl", 80)))
    ours = judge(GAIN, [run_of(sft=sft, rl=rl)]).estimate
    theirs = compute_difference(rl, sft, num_bootstrap=500, seed=0)
    assert (ours.mean, ours.n) == (pytest.approx(theirs.mean), theirs.n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_equal_values_give_equal_intervals():
    values = [1.0, 0.0, -1.0, 1.0] * 20
    first = estimate_mean(values, num_bootstrap=300, seed=1)
    assert first == estimate_mean(list(reversed(values)), num_bootstrap=300, seed=1)
    assert isinstance(first, Estimate)


def test_the_claims_have_names_of_their_own():
    assert [claim.key for claim in CLAIMS] == [f"F{number + 1}" for number in range(len(CLAIMS))]
    assert all(claim.source for claim in CLAIMS)


CROPS = Claim(
    "C", "Crops are for perception.", Measure.CROP_SHARE, None,
    Arm("grpo", "rl", ("perception",)), Arm("grpo", "rl", ("text", "search")),
)  # fmt: skip


def kinds_run(make_score, shares, *, size=40):
    """Give a run in which answers of a family make one call, a crop for the given share."""
    rows, kinds = [], {}
    for family, share in shares.items():
        for number in range(size):
            name = f"{family}{number:02d}"
            rows.append(
                make_score(model="rl", mode="agent", sample_id=name, trajectory_id=name,
                           family=family, num_calls=1)
            )  # fmt: skip
            if share is not None:
                is_crop = number < share * size
                kinds[name] = (CallKind.CROP if is_crop else CallKind.NUMERICAL,)
    return GridRun("seed-0-grpo", 0, "grpo", {"rl": rows}, kinds)


def test_kinds_of_calls_are_compared_between_families(make_score):
    run = kinds_run(make_score, {"perception": 0.9, "text": 0.1, "search": 0.1})
    found = judge(CROPS, [run])
    assert found.outcome is Outcome.CAME_OUT
    assert found.estimate.mean == pytest.approx(0.8)
    assert found.estimate.n == 40
    assert 0.6 < found.estimate.low < found.estimate.mean < found.estimate.high < 0.95


def test_families_that_share_their_calls_evenly_are_no_finding(make_score):
    run = kinds_run(make_score, {"perception": 0.5, "text": 0.5, "search": 0.5})
    assert judge(CROPS, [run]).outcome is Outcome.UNDECIDED


def test_answers_without_a_call_have_no_share_of_kinds(make_score):
    found = judge(CROPS, [kinds_run(make_score, {"perception": 0.9, "text": None})])
    assert (found.outcome, found.estimate) == (Outcome.UNDECIDED, None)


def test_a_gap_between_samples_is_wider_than_between_pairs():
    values = [0.0, 1.0] * 50
    gap = estimate_gap(values, values, num_bootstrap=500, seed=0)
    pairs = estimate_mean([0.0] * 100, num_bootstrap=500, seed=0)
    assert gap.mean == pairs.mean == 0
    assert gap.high - gap.low > 0.2 > pairs.high - pairs.low


def step_of(number, **figures):
    known = dict.fromkeys(StepFigures._fields)
    return StepFigures(**{**known, "step": number, "kinds": {}, **figures})


def test_reasons_tell_what_the_data_suggest(answers):
    gains = {0: 80, 1: 50}
    runs = [run_of(seed, sft=answers("sft", 50), rl=answers("rl", n)) for seed, n in gains.items()]
    flat = [
        step_of(n, accuracy=0.5, format=0.5 + n / 20, calls=1.0, flat_groups=0.7,
                surprisal=1.0 - n / 11)
        for n in range(10)
    ]  # fmt: skip
    reasons = explain(judge(GAIN, runs, seeds=(0, 1)), runs, {"seed-0-grpo": flat})
    text = "\n".join(reasons)
    assert "Seeds disagree: clear at 0, not at 1." in text
    assert "RL of grpo, first to last 5 steps: accuracy 0.50 -> 0.50" in text
    assert "In grpo 70 % of the groups were flat" in text
    assert "Entropy of grpo fell to less than half" in text
    assert "the reward rose by its format part" in text


def test_a_floor_and_a_missing_variant_are_named(answers):
    runs = [run_of(sft=answers("sft", 2), rl=answers("rl", 1))]
    text = "\n".join(explain(judge(GAIN, runs), runs, {}))
    assert "near the floor (1.0 % and 2.0 %)" in text
    assert explain(judge(FALL, runs), runs, {}) == ["Not run: efficiency."]


def test_what_came_out_needs_no_reason(answers):
    runs = [run_of(sft=answers("sft", 10), rl=answers("rl", 90))]
    assert explain(judge(GAIN, runs), runs, {}) == []


def test_the_page_names_outcome_interval_and_runs(answers):
    finding = judge(GAIN, [run_of(sft=answers("sft", 80), rl=answers("rl", 50))])
    page = render_findings([finding], Experiments("abc", {"seed-0-grpo": ()}, {}))
    assert "| [X](queries/X.sql) | RL gains. | - | **did not come out**, one seed | -30.0 (" in page
    assert "| X | RL - SFT, accuracy, tool questions | 0 | -30.0 (" in page
    assert "Without a result: seed-0-grpo." in page


def test_the_page_says_which_outcomes_rest_on_one_seed(answers, tmp_path):
    runs = [run_of(seed, sft=answers("sft", 10), rl=answers("rl", 90)) for seed in (0, 1)]
    for seeds, cell in (((0, 1), "**came out** |"), ((0,), "**came out**, one seed |")):
        finding = judge(GAIN, runs, seeds=seeds)
        assert cell in render_findings([finding], Experiments("abc", {}, {}))
        write_findings([finding], Experiments("abc", {}, {}), tmp_path)
        (told,) = json.loads((tmp_path / "findings.json").read_text())["findings"]
        assert told["rests_on_one_seed"] is (seeds == (0,))


def test_equal_findings_give_equal_bytes(answers, tmp_path):
    findings = [judge(GAIN, [run_of(sft=answers("sft", 50), rl=answers("rl", 80))])]
    experiments = Experiments("abc", {"seed-0-grpo": ()}, {})
    for name in ("one", "two"):
        write_findings(findings, experiments, tmp_path / name / "findings")
    one, two = (tmp_path / name / "findings" for name in ("one", "two"))
    files = sorted(path.relative_to(one).as_posix() for path in one.rglob("*.*"))
    assert files == [
        "findings.json", "findings.md", "findings.png", "findings.svg", "queries/X.sql",
        "queries/experiments.sql", "queries/kinds.sql", "queries/training.sql",
        "queries/training_ends.sql", "queries/training_families.sql", "training.png",
        "training.svg",
    ]  # fmt: skip
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    content = json.loads((one / "findings.json").read_text())
    assert content["findings"][0]["outcome"] == "came out"
    assert content["missing"] == ["seed-0-grpo"]


def test_findings_without_any_run_are_still_a_page(tmp_path):
    findings = [judge(claim, []) for claim in CLAIMS]
    write_findings(findings, Experiments("abc", {}, {}), tmp_path)
    page = (tmp_path / "findings.md").read_text()
    assert page.count("**undecided**") == len(CLAIMS)
