"""Why a claim did not come out, as far as the runs themselves tell.

Each reason is a sentence with the numbers that it rests on. They are what the data suggest, not
proofs: nothing was run again to test one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agentic_vlm.analysis.claims import Arm, Claim, Measure
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.estimates import Estimate, average_samples
from agentic_vlm.analysis.findings import (
    MIN_SAMPLES,
    Comparison,
    Finding,
    GridRun,
    Outcome,
    compare_arms,
)

_EDGE = 0.05
"""An accuracy this near to 0 or 1 leaves nothing to compare."""
_NUM_STEPS = 5
"""Steps at each end of RL that are averaged."""
_MANY_FLAT = 0.5
"""From this share of flat groups on, most of the sampling teaches nothing."""
_LOW_ENTROPY = 0.5
"""Below this share of its first value, entropy has collapsed."""

RunKey = tuple[int, str]
"""Seed and variant."""


def explain(
    finding: Finding,
    runs: Iterable[GridRun],
    curves: Mapping[str, Sequence[StepFigures]],
) -> list[str]:
    """Return what the data suggest for a claim that is not out; nothing for one that is.

    Args:
        finding: the claim with its outcome.
        runs: experiments of the grid.
        curves: RL by name of the experiment.
    """
    if finding.outcome is Outcome.CAME_OUT:
        return []
    claim = finding.claim
    known = {(run.seed, run.variant): run for run in runs}
    if finding.estimate is None:
        return [_absence(claim, known)]
    pairs = [
        (known[result.seed, claim.first.variant], known[result.seed, claim.second.variant])
        for result in finding.seeds
        if {(result.seed, claim.first.variant), (result.seed, claim.second.variant)} <= set(known)
    ]
    comparisons = [compare_arms(claim, first, second) for first, second in pairs]
    return [
        *_about_size(finding, finding.estimate),
        *_about_seeds(finding),
        *_about_edges(claim, comparisons),
        *_about_families(claim, pairs),
        *_about_training(claim, pairs, curves),
    ]


def _absence(claim: Claim, known: Mapping[RunKey, GridRun]) -> str:
    variants = dict.fromkeys((claim.first.variant, claim.second.variant))
    ran = {variant for _, variant in known}
    missing = [variant for variant in variants if variant not in ran]
    if missing:
        return f"Not run: {', '.join(missing)}."
    return f"No answer has a {claim.measure} in both arms."


def _about_size(finding: Finding, found: Estimate) -> Iterator[str]:
    claim = finding.claim
    if found.n < MIN_SAMPLES:
        yield f"Only {found.n} answers have a {claim.measure}; {MIN_SAMPLES} are needed."
    elif finding.outcome is Outcome.UNDECIDED and found.low < claim.bound < found.high:
        half, distance = (found.high - found.low) / 2, abs(found.mean - claim.bound)
        if distance > 0 and half > distance:
            needed = math.ceil(found.n * (half / distance) ** 2)
            yield (
                f"The interval reaches over the bound. If the difference is as estimated, about "
                f"{needed} samples would show it; there are {found.n}."
            )
    if found.low == found.high == 0:
        yield "Both arms did the same on every sample."


def _about_seeds(finding: Finding) -> Iterator[str]:
    clear = [str(one.seed) for one in finding.seeds if one.is_clear]
    unclear = [str(one.seed) for one in finding.seeds if not one.is_clear]
    if clear and unclear:
        yield f"Seeds disagree: clear at {', '.join(clear)}, not at {', '.join(unclear)}."
    if len(finding.seeds) < finding.num_seeds:
        yield f"{finding.num_seeds - len(finding.seeds)} of {finding.num_seeds} seeds are missing."


def _about_edges(claim: Claim, comparisons: Sequence[Comparison]) -> Iterator[str]:
    if claim.measure is not Measure.ACCURACY or not comparisons:
        return
    ours = list(average_samples(one.first for one in comparisons).values())
    theirs = list(average_samples(one.second for one in comparisons).values())
    shares = sum(ours) / len(ours), sum(theirs) / len(theirs)
    shown = f"{100 * shares[0]:.1f} % and {100 * shares[1]:.1f} %"
    if max(shares) < _EDGE:
        yield f"Both arms are near the floor ({shown}): hardly a question is solved either way."
    elif min(shares) > 1 - _EDGE:
        yield f"Both arms are near the ceiling ({shown})."


def _about_families(claim: Claim, pairs: Sequence[tuple[GridRun, GridRun]]) -> Iterator[str]:
    """Tell how the difference is spread over the families, where the claim is about several."""
    if not claim.is_paired or len(claim.first.families) == 1:
        return
    rows = (row for first, _ in pairs for row in first.columns.get(claim.first.column, ()))
    allowed = claim.first.families
    families = sorted({row.family for row in rows if not allowed or row.family in allowed})
    told = []
    for family in families:
        comparisons = [_only(claim, family, first, second) for first, second in pairs]
        ours = average_samples(one.first for one in comparisons)
        theirs = average_samples(one.second for one in comparisons)
        if ours:
            gap = (sum(ours.values()) - sum(theirs.values())) / len(ours)
            told.append(f"{family} {say(gap, claim.measure)} (n {len(ours)})")
    if len(told) > 1:
        yield f"By family: {', '.join(told)}."


def _only(claim: Claim, family: str, first: GridRun, second: GridRun) -> Comparison:
    narrowed = Claim(
        claim.key,
        claim.text,
        claim.measure,
        claim.need,
        claim.first._replace(families=(family,)),
        claim.second._replace(families=(family,)),
    )
    return compare_arms(narrowed, first, second)


def _about_training(
    claim: Claim,
    pairs: Sequence[tuple[GridRun, GridRun]],
    curves: Mapping[str, Sequence[StepFigures]],
) -> Iterator[str]:
    """Tell what RL itself looked like, for arms that went through it."""
    arms: list[tuple[Arm, list[GridRun]]] = [
        (claim.first, [first for first, _ in pairs]),
        (claim.second, [second for _, second in pairs]),
    ]
    told: set[str] = set()
    for arm, runs in arms:
        own = [curves[run.name] for run in runs if curves.get(run.name)]
        if arm.column.startswith("rl") and own and arm.variant not in told:
            told.add(arm.variant)
            yield from _training(arm.variant, own)


def _training(variant: str, curves: Sequence[Sequence[StepFigures]]) -> Iterator[str]:
    parts = {name: _ends(curves, name) for name in ("accuracy", "format", "calls", "surprisal")}
    told = [
        f"{name} {ends[0]:.2f} -> {ends[1]:.2f}" for name, ends in parts.items() if ends is not None
    ]
    yield f"RL of {variant}, first to last {_NUM_STEPS} steps: {', '.join(told)}."
    flat = _ends(curves, "flat_groups")
    if flat is not None and max(flat) >= _MANY_FLAT:
        yield (
            f"In {variant} {100 * flat[0]:.0f} % of the groups were flat at first and "
            f"{100 * flat[1]:.0f} % at last: all rollouts earned the same, and nothing was learnt."
        )
    entropy = parts["surprisal"]
    if entropy is not None and entropy[1] < _LOW_ENTROPY * entropy[0]:
        yield f"Entropy of {variant} fell to less than half: little was tried in the end."
    accuracy, form = parts["accuracy"], parts["format"]
    if accuracy and form and accuracy[1] - accuracy[0] <= 0.01 < form[1] - form[0]:
        yield f"In {variant} the reward rose by its format part, not by right answers."


def _ends(curves: Sequence[Sequence[StepFigures]], name: str) -> tuple[float, float] | None:
    """Return the means over the first and the last steps of all runs."""
    firsts = [getattr(one, name) for steps in curves for one in steps[:_NUM_STEPS]]
    lasts = [getattr(one, name) for steps in curves for one in steps[-_NUM_STEPS:]]
    known = [[value for value in values if value is not None] for values in (firsts, lasts)]
    if not all(known):
        return None
    return sum(known[0]) / len(known[0]), sum(known[1]) / len(known[1])


def say(value: float, measure: Measure) -> str:
    """Return a difference with its sign; shares in points.

    >>> say(0.051, Measure.ACCURACY), say(-0.25, Measure.CALLS)
    ('+5.1 points', '-0.25')
    """
    return f"{100 * value:+.1f} points" if measure.is_share else f"{value:+.2f}"
