"""What a grid of runs says about each claim: it came out, it did not, or it is undecided.

Every estimate is a mean over samples of a paired difference: what one model did on a sample minus
what another did on the same one. Its interval is the percentile bootstrap over samples; over
several seeds a sample counts with its mean over the seeds, so that seeds, which are too few to
estimate a spread from, are held fixed and shown one by one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, assert_never

import numpy as np

from agentic_vlm.schema import Need, ScoredAnswer, StopReason, Verdict

MIN_SAMPLES = 30
"""Below this a bootstrap interval is too narrow to decide anything: four equal answers have one of
width 0. Ours."""
_TAIL = 0.025
_DIGITS = 12

SampleKey = tuple[str, str]
"""Suite and sample id."""


class Outcome(StrEnum):
    """What became of a claim."""

    CAME_OUT = "came out"
    DID_NOT = "did not come out"
    UNDECIDED = "undecided"


class Measure(StrEnum):
    """What is compared, per answer."""

    ACCURACY = "accuracy"
    TOOL_RATE = "tool rate"
    CALLS = "calls"


class Arm(NamedTuple):
    """One model of one experiment."""

    variant: str
    """Variant of the grid."""
    column: str
    """Model as named in the summary: base_direct, base, sft or rl."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A difference, first minus second, that is expected on one side of a bound."""

    key: str
    """Short name."""
    text: str
    """The claim as a sentence."""
    measure: Measure
    """What is compared."""
    need: Need
    """Kind of questions."""
    first: Arm
    """Minuend."""
    second: Arm
    """Subtrahend."""
    is_rise: bool = True
    """Whether the difference is expected above the bound, or else below."""
    bound: float = 0.0
    """The bound; -0.03 with a rise means: not worse by 3 points."""

    def is_clear(self, estimate: "Estimate") -> bool:
        """Tell whether the whole interval lies on the expected side of the bound."""
        if estimate.n < MIN_SAMPLES:
            return False
        return estimate.low > self.bound if self.is_rise else estimate.high < self.bound

    def is_refuted(self, estimate: "Estimate") -> bool:
        """Tell whether no part of the interval lies on the expected side."""
        if estimate.n < MIN_SAMPLES:
            return False
        return estimate.high <= self.bound if self.is_rise else estimate.low >= self.bound


_GRPO_BASE_DIRECT, _GRPO_BASE = Arm("grpo", "base_direct"), Arm("grpo", "base")
_GRPO_SFT, _GRPO_RL = Arm("grpo", "sft"), Arm("grpo", "rl")
_ACCURACY, _TOOL_RATE = Measure.ACCURACY, Measure.TOOL_RATE

CLAIMS = (
    Claim(
        "F1", "The cold start teaches tool use: it raises accuracy on tool questions.",
        _ACCURACY, Need.TOOL, _GRPO_SFT, _GRPO_BASE,
    ),
    Claim(
        "F2", "The cold start over-uses tools: it calls on more direct questions than the base.",
        _TOOL_RATE, Need.DIRECT, _GRPO_SFT, _GRPO_BASE,
    ),
    Claim(
        "F3", "RL improves on the cold start on tool questions.",
        _ACCURACY, Need.TOOL, _GRPO_RL, _GRPO_SFT,
    ),
    Claim(
        "F4", "RL beats rejection sampling at equal steps on tool questions.",
        _ACCURACY, Need.TOOL, _GRPO_RL, Arm("rejection", "rl"),
    ),
    Claim(
        "F5", "RL makes tool use selective: it calls on fewer direct questions than before.",
        _TOOL_RATE, Need.DIRECT, _GRPO_RL, _GRPO_SFT, is_rise=False,
    ),
    Claim(
        "F6", "Direct questions do not get worse by 3 points from the base, no tools, to RL.",
        _ACCURACY, Need.DIRECT, _GRPO_RL, _GRPO_BASE_DIRECT, bound=-0.03,
    ),
    Claim(
        "F7", "With the efficiency reward, RL calls less on direct questions than without.",
        Measure.CALLS, Need.DIRECT, Arm("efficiency", "rl"), _GRPO_RL, is_rise=False,
    ),
)  # fmt: skip
"""The claims, in the order of the flow."""


class Estimate(NamedTuple):
    """A mean difference."""

    mean: float
    """First minus second, per answer."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of it."""
    n: int
    """Samples."""


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
    results, differences = [], []
    for seed in seeds:
        pair = known.get((seed, claim.first.variant)), known.get((seed, claim.second.variant))
        first, second = pair
        if first is None or second is None:
            continue
        difference = compare_arms(claim, first, second)
        found = estimate_mean(difference.values(), num_bootstrap=num_bootstrap, seed=seed)
        if found is None:
            continue
        differences.append(difference)
        names = tuple(dict.fromkeys((first.name, second.name)))
        results.append(SeedResult(seed, names, found, claim.is_clear(found)))
    values = average_samples(differences).values()
    pooled = estimate_mean(values, num_bootstrap=num_bootstrap, seed=0)
    outcome = _decide(claim, results, pooled, num_seeds=len(seeds))
    return Finding(claim, outcome, pooled, tuple(results), len(seeds))


def _decide(
    claim: Claim, results: Sequence[SeedResult], pooled: Estimate | None, *, num_seeds: int
) -> Outcome:
    if pooled is None:
        return Outcome.UNDECIDED
    if sum(result.is_clear for result in results) == num_seeds:
        return Outcome.CAME_OUT
    return Outcome.DID_NOT if claim.is_refuted(pooled) else Outcome.UNDECIDED


def compare_arms(claim: Claim, first: GridRun, second: GridRun) -> dict[SampleKey, float]:
    """Return first minus second on each sample for which both have a value."""
    ours = _values(claim, first.columns.get(claim.first.column, ()))
    theirs = _values(claim, second.columns.get(claim.second.column, ()))
    return {key: ours[key] - theirs[key] for key in sorted(ours.keys() & theirs.keys())}


def average_samples(
    differences: Iterable[Mapping[SampleKey, float]],
) -> dict[SampleKey, float]:
    """Return the mean of each sample over the seeds that have it.

    >>> average_samples([{("a", "1"): 1.0}, {("a", "1"): 0.0, ("a", "2"): -1.0}])
    {('a', '1'): 0.5, ('a', '2'): -1.0}
    """
    found: dict[SampleKey, list[float]] = {}
    for difference in differences:
        for key, value in difference.items():
            found.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in sorted(found.items())}


def estimate_mean(values: Collection[float], *, num_bootstrap: int, seed: int) -> Estimate | None:
    """Return the mean with its interval; absent where there are no values.

    >>> estimate_mean([1.0, 1.0], num_bootstrap=10, seed=0)
    Estimate(mean=1.0, low=1.0, high=1.0, n=2)
    """
    n = len(values)
    if n == 0:
        return None
    # Differences take few values, so a resample of samples is a draw of how often each occurs.
    distinct, counts = np.unique(np.round(list(values), _DIGITS), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=num_bootstrap)
    low, high = np.quantile(draws @ distinct / n, [_TAIL, 1 - _TAIL])
    return Estimate(float(counts @ distinct / n), float(low), float(high), n)


def _values(claim: Claim, rows: Iterable[ScoredAnswer]) -> dict[SampleKey, float]:
    """Return the measure on each sample; ungraded answers have no accuracy, outages nothing."""
    return {
        (row.suite, row.sample_id): _value(claim.measure, row)
        for row in rows
        if row.need == claim.need
        and row.stop_reason != StopReason.INFRASTRUCTURE
        and (claim.measure is not Measure.ACCURACY or row.verdict is not Verdict.UNGRADED)
    }


def _value(measure: Measure, row: ScoredAnswer) -> float:
    match measure:
        case Measure.ACCURACY:
            return float(row.verdict is Verdict.CORRECT)
        case Measure.TOOL_RATE:
            return float(row.num_calls > 0)
        case Measure.CALLS:
            return float(row.num_calls)
        case _:
            assert_never(measure)
