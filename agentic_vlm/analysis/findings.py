"""What a grid of runs says about each claim: it came out, it did not, or it is undecided.

An estimate is a mean over samples of a paired difference: what one model did on a sample minus what
another did on the same one; or, between families of questions, a difference of two means. Its
interval is the percentile bootstrap over samples; over several seeds a sample counts with its mean
over the seeds, so that seeds, which are too few to estimate a spread from, are held fixed and shown
one by one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, assert_never

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.claims import Arm, Claim, Measure
from agentic_vlm.analysis.estimates import (
    Estimate,
    SampleKey,
    average_samples,
    estimate_gap,
    estimate_mean,
)
from agentic_vlm.schema import ScoredAnswer, StopReason, Verdict

MIN_SAMPLES = 30
"""Below this a bootstrap interval is too narrow to decide anything: four equal answers have one of
width 0. Ours."""


class Outcome(StrEnum):
    """What became of a claim."""

    CAME_OUT = "came out"
    DID_NOT = "did not come out"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class GridRun:
    """What one experiment of the grid scored."""

    name: str
    """Name of the experiment."""
    seed: int
    """Its seed."""
    variant: str
    """Its variant."""
    columns: Mapping[str, Sequence[ScoredAnswer]]
    """Scored answers by model, as named in the summary."""
    kinds: Mapping[str, Sequence[CallKind]] = field(default_factory=dict)
    """What the calls of an episode were for, by trajectory id; episodes without calls may lack."""


class SeedResult(NamedTuple):
    """A claim at one seed."""

    seed: int
    """The seed."""
    runs: tuple[str, ...]
    """Experiments behind it."""
    estimate: Estimate
    """The difference."""
    is_clear: bool
    """Whether its whole interval lies on the expected side."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim with what the grid says about it."""

    claim: Claim
    """The claim."""
    outcome: Outcome
    """What became of it."""
    estimate: Estimate | None
    """Over all seeds; absent where nothing was comparable."""
    seeds: tuple[SeedResult, ...]
    """Each seed that could be compared."""
    num_seeds: int
    """Seeds that were asked for."""


def judge_claim(
    claim: Claim, runs: Iterable[GridRun], *, seeds: Sequence[int], num_bootstrap: int
) -> Finding:
    """Compare the two arms of a claim at every seed and over all of them.

    It came out if the interval is clear of the bound at every seed asked for. It did not if the
    interval over all seeds has no part on the expected side. All else, missing runs and fewer than
    `MIN_SAMPLES` samples included, is undecided.

    Args:
        claim: the claim.
        runs: experiments, at most one per seed and variant.
        seeds: seeds that were asked for.
        num_bootstrap: resamples.
    """
    known = {(run.seed, run.variant): run for run in runs}
    results, comparisons = [], []
    for seed in seeds:
        first = known.get((seed, claim.first.variant))
        second = known.get((seed, claim.second.variant))
        if first is None or second is None:
            continue
        comparison = compare_arms(claim, first, second)
        found = estimate(claim, [comparison], num_bootstrap=num_bootstrap, seed=seed)
        if found is None:
            continue
        comparisons.append(comparison)
        names = tuple(dict.fromkeys((first.name, second.name)))
        results.append(SeedResult(seed, names, found, is_clear(claim, found)))
    pooled = estimate(claim, comparisons, num_bootstrap=num_bootstrap, seed=0)
    outcome = _decide(claim, results, pooled, num_seeds=len(seeds))
    return Finding(claim, outcome, pooled, tuple(results), len(seeds))


def is_clear(claim: Claim, found: Estimate) -> bool:
    """Tell whether the whole interval lies on the expected side of the bound."""
    if found.n < MIN_SAMPLES:
        return False
    return found.low > claim.bound if claim.is_rise else found.high < claim.bound


def is_refuted(claim: Claim, found: Estimate) -> bool:
    """Tell whether no part of the interval lies on the expected side."""
    if found.n < MIN_SAMPLES:
        return False
    return found.high <= claim.bound if claim.is_rise else found.low >= claim.bound


def _decide(
    claim: Claim, results: Sequence[SeedResult], pooled: Estimate | None, *, num_seeds: int
) -> Outcome:
    if pooled is None:
        return Outcome.UNDECIDED
    if sum(result.is_clear for result in results) == num_seeds:
        return Outcome.CAME_OUT
    return Outcome.DID_NOT if is_refuted(claim, pooled) else Outcome.UNDECIDED


class Comparison(NamedTuple):
    """The values of both arms at one seed."""

    first: Mapping[SampleKey, float]
    """By sample."""
    second: Mapping[SampleKey, float]
    """The same samples where the arms are paired."""


def compare_arms(claim: Claim, first: GridRun, second: GridRun) -> Comparison:
    """Return what both arms did; paired ones on the samples for which both have a value."""
    ours = _values(claim, claim.first, first)
    theirs = _values(claim, claim.second, second)
    if not claim.is_paired:
        return Comparison(ours, theirs)
    shared = sorted(ours.keys() & theirs.keys())
    return Comparison({key: ours[key] for key in shared}, {key: theirs[key] for key in shared})


def estimate(
    claim: Claim, comparisons: Sequence[Comparison], *, num_bootstrap: int, seed: int
) -> Estimate | None:
    """Return the difference over one seed or several; absent where nothing was comparable."""
    if not claim.is_paired:
        ours = average_samples(one.first for one in comparisons).values()
        theirs = average_samples(one.second for one in comparisons).values()
        return estimate_gap(ours, theirs, num_bootstrap=num_bootstrap, seed=seed)
    differences = average_samples(
        {key: value - one.second[key] for key, value in one.first.items()} for one in comparisons
    )
    return estimate_mean(differences.values(), num_bootstrap=num_bootstrap, seed=seed)


def _values(claim: Claim, arm: Arm, run: GridRun) -> dict[SampleKey, float]:
    """Return the measure on each sample that has it; outages have nothing."""
    values = {}
    for row in run.columns.get(arm.column, ()):
        if claim.need is not None and row.need != claim.need:
            continue
        if arm.families and row.family not in arm.families:
            continue
        if row.stop_reason == StopReason.INFRASTRUCTURE:
            continue
        value = _value(claim.measure, row, run.kinds.get(row.trajectory_id, ()))
        if value is not None:
            values[row.suite, row.sample_id] = value
    return values


def _value(measure: Measure, row: ScoredAnswer, kinds: Sequence[CallKind]) -> float | None:
    """Return the measure of an answer; absent: ungraded, or a share of no calls."""
    match measure:
        case Measure.ACCURACY:
            is_graded = row.verdict is not Verdict.UNGRADED
            return float(row.verdict is Verdict.CORRECT) if is_graded else None
        case Measure.TOOL_RATE:
            return float(row.num_calls > 0)
        case Measure.CALLS:
            return float(row.num_calls)
        case Measure.FAILED_CALLS:
            return float(row.num_failed_calls)
        case Measure.TOKENS:
            return float(row.num_tokens)
        case Measure.HOLLOW_CALLS:
            return float(sum(kind in _HOLLOW for kind in kinds))
        case Measure.CROP_SHARE | Measure.COMPUTE_SHARE | Measure.SEARCH_SHARE:
            meant = _MEANT[measure]
            return sum(kind in meant for kind in kinds) / len(kinds) if kinds else None
        case _:
            assert_never(measure)


_HOLLOW = frozenset({CallKind.PLACEHOLDER, CallKind.REDISPLAY})
_MEANT = {
    Measure.CROP_SHARE: frozenset({CallKind.CROP}),
    Measure.COMPUTE_SHARE: frozenset({CallKind.NUMERICAL}),
    Measure.SEARCH_SHARE: frozenset({CallKind.TEXT_SEARCH, CallKind.IMAGE_SEARCH}),
}
