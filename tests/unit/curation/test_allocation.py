from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.curation.allocation import TOOL_OPTIONAL, allocate
from agentic_vlm.curation.pass_rates import summarise_probes
from agentic_vlm.curation.shares import choose, share_out
from agentic_vlm.errors import RecordError
from agentic_vlm.params import AllocateParams
from agentic_vlm.schema import AnswerType, CuratedSample, Probe, ProbeMode, RejectReason, Verdict

K = 8


def attempts(sample_id, *, direct, agent, num_unknown=0):
    for mode, num_correct in ((ProbeMode.DIRECT, direct), (ProbeMode.AGENT, agent)):
        for number in range(K):
            verdict = Verdict.CORRECT if number < num_correct else Verdict.INCORRECT
            if number >= K - num_unknown:
                verdict = None
            yield Probe(
                sample_id=sample_id, mode=mode, attempt=number, is_needed=True, verdict=verdict
            )


def run(make_sample, outcomes, **params):
    samples = [make_sample(sample_id=name, question=name) for name in outcomes]
    probes = [
        probe
        for name, (direct, agent) in outcomes.items()
        for probe in attempts(name, direct=direct, agent=agent)
    ]
    return allocate(
        samples, probes, num_attempts=K, params=AllocateParams(**{"sft_easy_share": 0.0, **params})
    )


def test_the_paper_rules_split_the_samples(make_sample):
    outcomes = {"easy": (3, 8), "hard": (2, 0), "helped": (2, 1)}
    pools = run(make_sample, outcomes, easy_share=0.0)
    assert [sample.sample_id for sample in pools.sft] == ["hard"]
    assert [sample.sample_id for sample in pools.rl] == ["helped"]
    assert [(row.row_id, row.reason) for row in pools.rejections] == [
        ("easy", RejectReason.TOO_EASY)
    ]


def test_right_both_ways_is_marked(make_sample):
    pools = run(make_sample, {"both": (1, 1), "tools": (0, 1)}, easy_share=0.0)
    marked = {row.sample_id: TOOL_OPTIONAL in row.flags for row in pools.rl}
    assert marked == {"both": True, "tools": False}


def test_easy_samples_refill_their_share_of_the_cold_start_pool(make_sample):
    outcomes = {f"h{n}": (0, 0) for n in range(6)} | {f"e{n}": (8, 0) for n in range(9)}
    pools = run(make_sample, outcomes, easy_share=0.0, sft_easy_share=0.25)
    assert (len(pools.sft), pools.num_sft_easy) == (8, 2)
    assert not pools.rl
    assert Counter(row.reason for row in pools.rejections) == {RejectReason.TOO_EASY: 7}


def test_easy_samples_refill_their_share_of_the_rl_pool(make_sample):
    outcomes = {f"h{n}": (0, 1) for n in range(6)} | {f"e{n}": (8, 0) for n in range(9)}
    pools = run(make_sample, outcomes, easy_share=0.25)
    assert (len(pools.rl), pools.num_easy) == (8, 2)
    assert Counter(row.reason for row in pools.rejections) == {RejectReason.TOO_EASY: 7}


def test_an_open_rule_is_refused_with_the_number_of_missing_attempts(make_sample):
    probes = list(attempts("a", direct=0, agent=0))[:11]
    with pytest.raises(RecordError, match=r"tool_benefit is open for 1 .* up to 5 attempts short"):
        allocate([make_sample(sample_id="a")], probes, num_attempts=K, params=AllocateParams())


def test_rl_takes_its_share_of_what_the_base_solves_neither_way(make_sample):
    outcomes = {f"h{n}": (0, 0) for n in range(8)} | {"helped": (0, 1)}
    pools = run(make_sample, outcomes, easy_share=0.0, rl_unsolved_share=0.25)
    assert (len(pools.sft), len(pools.rl), pools.num_unsolved) == (6, 3, 2)
    assert not {row.sample_id for row in pools.sft} & {row.sample_id for row in pools.rl}


def test_outages_leave_a_sample_undecided_instead_of_hard(make_sample):
    probes = attempts("a", direct=0, agent=0, num_unknown=1)
    pools = allocate([make_sample(sample_id="a")], probes, num_attempts=K, params=AllocateParams())
    assert [row.reason for row in pools.rejections] == [RejectReason.UNDECIDED]


@given(
    st.dictionaries(st.integers(0, 40), st.tuples(st.integers(0, K), st.integers(0, K))),
    st.floats(0, 1),
    st.floats(0, 1),
    st.one_of(st.none(), st.integers(1, 20)),
    st.one_of(st.none(), st.integers(1, 20)),
)
def test_pools_are_disjoint_within_caps_and_lose_nobody(
    outcomes, easy_share, unsolved_share, max_sft, max_rl
):
    def sample(**fields):
        return CuratedSample(
            source="t",
            source_row_id="0",
            split="train",
            family="text",
            answer="1",
            answer_type=AnswerType.INTEGER,
            **fields,
        )

    named = {str(number): outcome for number, outcome in outcomes.items()}
    caps = {"max_sft_samples": max_sft, "max_rl_samples": max_rl}
    pools = run(sample, named, easy_share=easy_share, rl_unsolved_share=unsolved_share, **caps)
    ids = [row.sample_id for row in pools.sft + pools.rl]
    ids += [row.row_id for row in pools.rejections]
    assert sorted(ids) == sorted(named)
    assert max_sft is None or len(pools.sft) <= max_sft
    assert max_rl is None or len(pools.rl) <= max_rl


def test_a_cap_is_shared_among_families_by_size(make_sample):
    rows = [
        make_sample(sample_id=f"{f}{n}", family=f) for f in ("text", "search") for n in range(6)
    ]
    kept, others = choose(rows, 4, group=lambda row: row.family, row_id=lambda row: row.sample_id)
    assert Counter(row.family for row in kept) == {"text": 2, "search": 2}
    assert len(others) == 8


def test_a_choice_does_not_depend_on_the_order_of_rows():
    rows = [str(number) for number in range(20)]
    forward, backward = (
        choose(order, 5, group=lambda row: "all", row_id=str)[0] for order in (rows, rows[::-1])
    )
    assert forward == backward


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 50)), st.integers(0, 60))
def test_shares_fill_the_limit_exactly(sizes, limit):
    quotas = share_out(sizes, limit)
    assert sum(quotas.values()) == min(limit, sum(sizes.values()))
    assert all(quotas[group] <= sizes[group] for group in sizes)


def test_stopped_samples_show_their_pass_rate_as_a_range(make_sample):
    made = list(attempts("a", direct=3, agent=0))[:3]
    skipped = [
        Probe(sample_id="a", mode=ProbeMode.DIRECT, attempt=n, is_needed=False) for n in range(3, K)
    ]
    summary = summarise_probes(
        made + skipped, [make_sample(sample_id="a", need="tool")], num_attempts=K
    )
    assert summary["attempts"]["saved"] == 5
    assert summary["pass_rate"]["perception/tool"]["direct"] == {
        "low": 0.375,
        "high": 1.0,
        "num_samples": 1,
    }
