"""Which sample goes to which pool.

Deviation: `easy_share` of the RL pool and `sft_easy_share` of the cold-start pool are refilled with
samples that the base can do without tools, so that RL can learn when not to call and the cold start
does not forget; the paper drops all of them and mixes in tool-free text instead.
`rl_unsolved_share` of what the base solves neither way goes to RL and not to the cold start; the
paper sends all of it to the cold start, from a base that solves some of every kind with tools.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agentic_vlm.curation.rules import (
    AtLeast,
    Decision,
    Tally,
    helped_by_tools,
    tally_probes,
    too_easy,
)
from agentic_vlm.curation.shares import choose
from agentic_vlm.errors import RecordError
from agentic_vlm.params import AllocateParams
from agentic_vlm.schema import CuratedSample, Probe, ProbeMode, Rejection, RejectReason

TOOL_OPTIONAL = "tool_optional"
"""Flag of samples that the base got right at least once both ways."""


@dataclass(slots=True)
class Pools:
    """The outcome: disjoint pools, and everything else with a reason."""

    sft: list[CuratedSample] = field(default_factory=list)
    rl: list[CuratedSample] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    num_easy: int = 0
    """Samples of the RL pool that the difficulty filter would have dropped."""
    num_sft_easy: int = 0
    """The same for the cold-start pool."""
    num_unsolved: int = 0
    """Samples of the RL pool that the base solved neither way."""


@dataclass(slots=True)
class _Sorted:
    sft: list[CuratedSample] = field(default_factory=list)
    rl: list[CuratedSample] = field(default_factory=list)
    easy: list[CuratedSample] = field(default_factory=list)
    undecided: list[Rejection] = field(default_factory=list)


def allocate(
    samples: Sequence[CuratedSample],
    probes: Iterable[Probe],
    *,
    num_attempts: int,
    params: AllocateParams,
) -> Pools:
    """Return the pools.

    Args:
        samples: all curated samples.
        probes: the attempts at them.
        num_attempts: k, per sample and mode.
        params: thresholds, shares and caps.

    Raises:
        RecordError: the attempts leave a rule open, as after a change of its threshold.
    """
    tallies = tally_probes(probes)
    found = _sort(samples, tallies, num_attempts, params)
    pools = Pools(rejections=found.undecided)
    num_unsolved = round(len(found.sft) * params.rl_unsolved_share)
    unsolved, rest = choose(found.sft, num_unsolved, group=_family, row_id=_id)
    found.rl += unsolved
    pools.sft = _capped(rest, params.max_sft_samples, pools, "cold-start pool")
    max_hard, max_easy = _limits(len(found.rl), params)
    hard = _capped(found.rl, max_hard, pools, "RL pool")
    easy, others = choose(found.easy, max_easy, group=_family, row_id=_id)
    max_sft_easy = _refill(len(pools.sft), params.sft_easy_share)
    sft_easy, dropped = choose(others, max_sft_easy, group=_family, row_id=_id)
    rule = f"more than {params.max_direct_successes} of {num_attempts} direct attempts are right"
    pools.rejections += [_reject(row, RejectReason.TOO_EASY, rule) for row in dropped]
    pools.rl, pools.num_easy = hard + easy, len(easy)
    ids = {row.sample_id for row in unsolved}
    pools.num_unsolved = sum(row.sample_id in ids for row in hard)
    pools.sft, pools.num_sft_easy = pools.sft + sft_easy, len(sft_easy)
    return pools


def _limits(num_hard: int, params: AllocateParams) -> tuple[int, int]:
    """Return how many hard and how many easy samples the RL pool takes."""
    cap, share = params.max_rl_samples, params.easy_share
    if cap is not None:
        num_hard = min(num_hard, round(cap * (1 - share)))
    if share == 1:
        return 0, num_hard if cap is None else cap
    num_easy = _refill(num_hard, share)
    return num_hard, num_easy if cap is None else min(num_easy, cap - num_hard)


def _refill(num_hard: int, share: float) -> int:
    """Return how many easy samples make this share of a pool that holds `num_hard` others."""
    return round(num_hard * share / (1 - share))


def _sort(
    samples: Sequence[CuratedSample],
    tallies: Mapping[tuple[str, ProbeMode], Tally],
    num_attempts: int,
    params: AllocateParams,
) -> _Sorted:
    difficulty = too_easy(params.max_direct_successes, num_attempts=num_attempts)
    benefit = helped_by_tools(params.min_tool_successes, num_attempts=num_attempts)
    found = _Sorted()
    open_rules: dict[str, list[int]] = {}
    for sample in samples:
        direct = tallies.get((sample.sample_id, ProbeMode.DIRECT), Tally())
        agent = tallies.get((sample.sample_id, ProbeMode.AGENT), Tally())
        is_easy = difficulty.decide(direct)
        is_helped = benefit.decide(agent)
        marked = _mark(sample, direct, agent)
        if is_easy is Decision.YES:
            found.easy.append(marked)
        elif is_easy is Decision.OPEN:
            open_rules.setdefault("difficulty", []).append(_missing(difficulty, direct))
        elif is_easy is Decision.UNKNOWABLE:
            found.undecided.append(_undecided(sample, "difficulty", direct))
        elif is_helped is Decision.OPEN:
            open_rules.setdefault("tool_benefit", []).append(_missing(benefit, agent))
        elif is_helped is Decision.UNKNOWABLE:
            found.undecided.append(_undecided(sample, "tool_benefit", agent))
        else:
            (found.rl if is_helped is Decision.YES else found.sft).append(marked)
    if open_rules:
        raise _left_open(open_rules)
    return found


def _missing(rule: AtLeast, tally: Tally) -> int:
    return rule.num_attempts - tally.num_made


def _left_open(open_rules: Mapping[str, list[int]]) -> RecordError:
    parts = [
        f"rule {rule} is open for {len(missing)} sample(s), up to {sum(missing)} attempts short"
        for rule, missing in sorted(open_rules.items())
    ]
    return RecordError(
        "data/probes/records",
        "; ".join(parts),
        "name the rule in probe.decide and run the stage probe again",
    )


def _mark(sample: CuratedSample, direct: Tally, agent: Tally) -> CuratedSample:
    if not (direct.num_correct and agent.num_correct):
        return sample
    return sample.model_copy(update={"flags": (*sample.flags, TOOL_OPTIONAL)})


def _capped(
    samples: list[CuratedSample], limit: int | None, pools: Pools, name: str
) -> list[CuratedSample]:
    if limit is None:
        return samples
    kept, others = choose(samples, limit, group=_family, row_id=_id)
    reason = f"the {name} takes {limit}"
    pools.rejections += [_reject(row, RejectReason.OVER_SHARE, reason) for row in others]
    return kept


def _undecided(sample: CuratedSample, rule: str, tally: Tally) -> Rejection:
    evidence = (
        f"{rule}: {tally.num_correct} right and {tally.num_unknown} without verdict "
        f"of {tally.num_made} attempts"
    )
    return _reject(sample, RejectReason.UNDECIDED, evidence)


def _reject(sample: CuratedSample, reason: RejectReason, evidence: str) -> Rejection:
    return Rejection(stage="allocate", row_id=sample.sample_id, reason=reason, evidence=evidence)


def _family(sample: CuratedSample) -> str:
    return sample.family


def _id(sample: CuratedSample) -> str:
    return sample.sample_id
