import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.curation.rules import AtLeast, Decision, Tally
from agentic_vlm.curation.schedule import Rules, Schedule
from agentic_vlm.params import AllocateParams, ProbeParams
from agentic_vlm.schema import ProbeMode, Verdict

K = 8
OUTCOMES = st.lists(st.booleans(), min_size=K, max_size=K)
TABLES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(OUTCOMES, OUTCOMES), min_size=1)


def verdict(is_correct):
    return Verdict.CORRECT if is_correct else Verdict.INCORRECT


def play(table, rules, *, size=5):
    schedule = Schedule(table, rules)
    made = {}
    while attempts := schedule.next_attempts(size):
        for sample_id, mode, number in attempts:
            is_correct = table[sample_id][mode is ProbeMode.AGENT][number]
            schedule.record(sample_id, mode, verdict(is_correct))
            assert (sample_id, mode, number) not in made
            made[sample_id, mode, number] = is_correct
    return schedule, made


def pool(direct, agent, max_direct, min_tool):
    if sum(direct) > max_direct:
        return "easy"
    return "rl" if sum(agent) >= min_tool else "sft"


@given(TABLES, st.integers(0, K - 1), st.integers(1, K))
def test_early_stopping_decides_as_all_attempts_do(table, max_direct, min_tool):
    allocate = AllocateParams(max_direct_successes=max_direct, min_tool_successes=min_tool)
    rules = Rules.of(ProbeParams(num_attempts=K), allocate)
    schedule, made = play(table, rules)
    for sample_id, (direct, agent) in table.items():
        seen = [
            [made[sample_id, mode, n] for n in range(K) if (sample_id, mode, n) in made]
            for mode in ProbeMode
        ]
        assert pool(*seen, max_direct, min_tool) == pool(direct, agent, max_direct, min_tool)
        if sum(direct) > max_direct:
            assert not seen[1], "tools were tried although the direct rule rejects"
    assert len(made) + len(list(schedule.iter_skipped())) == len(table) * 2 * K


@given(TABLES)
def test_no_attempt_is_made_that_could_not_change_the_decision(table):
    rules = Rules.of(ProbeParams(num_attempts=K), AllocateParams())
    _, made = play(table, rules)
    for sample_id, (direct, _) in table.items():
        num_made = sum(key[:2] == (sample_id, ProbeMode.DIRECT) for key in made)
        rule = AtLeast(3, K)
        shortest = next(
            n
            for n in range(K + 1)
            if rule.decide(Tally(sum(direct[:n]), 0, n)) is not Decision.OPEN
        )
        assert num_made == shortest


def test_without_early_stopping_every_attempt_is_made():
    rules = Rules.of(ProbeParams(num_attempts=K, stop_early=False), AllocateParams())
    schedule, made = play({"a": ([True] * K, [True] * K)}, rules)
    assert len(made) == 2 * K
    assert not list(schedule.iter_skipped())


def test_a_rule_that_is_not_to_be_decided_costs_nothing():
    rules = Rules.of(ProbeParams(num_attempts=K, decide=("difficulty",)), AllocateParams())
    _, made = play({"a": ([False] * K, [True] * K)}, rules)
    assert {mode for _, mode, _ in made} == {ProbeMode.DIRECT}


def test_only_what_is_certainly_needed_is_named_before_a_verdict():
    rules = Rules.of(ProbeParams(num_attempts=K), AllocateParams(max_direct_successes=2))
    schedule = Schedule(["a"], rules)
    assert [attempt.number for attempt in schedule.next_attempts(K)] == [0, 1, 2]
    assert schedule.next_attempts(K) == []
    for is_correct in (True, False, False):
        assert schedule.next_attempts(K) == []
        schedule.record("a", ProbeMode.DIRECT, verdict(is_correct))
    assert [attempt.number for attempt in schedule.next_attempts(K)] == [3, 4]


@given(TABLES, st.integers(1, 20), st.integers(1, 20))
def test_which_attempts_are_made_does_not_depend_on_how_many_are_made_at_once(table, one, other):
    rules = Rules.of(ProbeParams(num_attempts=K), AllocateParams())
    assert play(table, rules, size=one)[1] == play(table, rules, size=other)[1]


def test_places_of_samples_that_are_settled_are_filled_by_others():
    """Tools help nobody: each sample needs its attempts one by one, and batches stay full."""
    rules = Rules.of(ProbeParams(num_attempts=K, decide=("tool_benefit",)), AllocateParams())
    schedule = Schedule([f"{number:02}" for number in range(20)], rules)
    sizes = []
    begun = set()
    while attempts := schedule.next_attempts(6):
        sizes.append(len(attempts))
        names = [attempt.sample_id for attempt in attempts]
        assert len(set(names)) == len(names)
        going_on = [name for name in names if name in begun]
        assert names[: len(going_on)] == going_on, "begun samples go on first"
        begun |= set(names)
        for sample_id, mode, _ in attempts:
            schedule.record(sample_id, mode, Verdict.INCORRECT)
    assert sizes[: 20 * K // 6 - K] == [6] * (20 * K // 6 - K)
    assert sum(sizes) == 20 * K


def test_an_attempt_without_verdict_is_never_a_wrong_answer():
    tally = Tally()
    for _ in range(7):
        tally = tally.plus(Verdict.INCORRECT)
    assert AtLeast(1, K).decide(tally.plus(None)) is Decision.UNKNOWABLE
    assert AtLeast(1, K).decide(tally.plus(Verdict.UNGRADED)) is Decision.UNKNOWABLE
    assert AtLeast(1, K).decide(tally.plus(Verdict.INCORRECT)) is Decision.NO


@pytest.mark.parametrize(("num_correct", "needed"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_surely_needed_counts_down_to_the_decision(num_correct, needed):
    tally = Tally(num_correct, 0, num_correct)
    assert AtLeast(3, K).num_surely_needed(tally) == needed


SHAPES = {
    "u_shaped": lambda rng: rng.betavariate(0.3, 0.3),
    "flat": lambda rng: rng.random(),
    "hard": lambda rng: rng.betavariate(0.5, 8.0),
}


def least_attempts(outcomes, threshold):
    """Return how many of the outcomes, in their order, settle whether `threshold` are right."""
    for made in range(len(outcomes)):
        right, left = sum(outcomes[:made]), len(outcomes) - made
        if right >= threshold or right + left < threshold:
            return made
    return len(outcomes)


@pytest.mark.parametrize(("shape", "times_fewer"), [("u_shaped", 1.4), ("flat", 1.4), ("hard", 1)])
def test_attempts_are_the_computed_optimum_and_decide_the_same(shape, times_fewer):
    rng = random.Random(shape)
    allocate = AllocateParams(max_direct_successes=2, min_tool_successes=1)
    table, optimum = {}, 0
    for number in range(1000):
        chance = SHAPES[shape](rng)
        # Tools help with half of what the base cannot do.
        direct = [rng.random() < chance for _ in range(K)]
        agent = [rng.random() < (1 + chance) / 2 for _ in range(K)]
        table[str(number)] = (direct, agent)
        optimum += least_attempts(direct, 3)
        optimum += least_attempts(agent, 1) if sum(direct) <= 2 else 0
    _, made = play(table, Rules.of(ProbeParams(num_attempts=K), allocate))
    seen = {name: ([], []) for name in table}
    for (name, mode, _), is_correct in made.items():
        seen[name][mode is ProbeMode.AGENT].append(is_correct)
    for name, outcomes in table.items():
        assert pool(*seen[name], 2, 1) == pool(*outcomes, 2, 1)
        assert pool(*outcomes, 2, 1) != "easy" or not seen[name][1]
    assert optimum <= len(made) <= 1.01 * optimum
    assert len(table) * 2 * K >= times_fewer * len(made)
