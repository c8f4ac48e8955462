"""Pass rates of the probe: with early stopping, the range in which the full rate lies."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from agentic_vlm.curation.rules import Tally, tally_probes
from agentic_vlm.schema import CuratedSample, Probe, ProbeMode

Rates = dict[str, dict[str, dict[str, float | int]]]


def summarise_probes(
    probes: Iterable[Probe], samples: Iterable[CuratedSample], *, num_attempts: int
) -> dict[str, object]:
    """Return counts of attempts and mean pass rates by family and need.

    `low` counts attempts that were not made or have no verdict as wrong, `high` as right.
    """
    rows = list(probes)
    tallies = tally_probes(rows)
    num_made = sum(probe.is_needed for probe in rows)
    return {
        "attempts": {
            "made": num_made,
            "saved": len(rows) - num_made,
            "saved_share": round(1 - num_made / len(rows), 4) if rows else 0.0,
            "infrastructure": sum(probe.stop_reason == "infrastructure" for probe in rows),
        },
        "pass_rate": _rates(tallies, list(samples), num_attempts),
    }


def _rates(
    tallies: Mapping[tuple[str, ProbeMode], Tally], samples: list[CuratedSample], k: int
) -> Rates:
    groups: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        need = sample.need.value if sample.need is not None else "any"
        groups[f"{sample.family}/{need}"].append(sample.sample_id)
    rates: Rates = {}
    for group, ids in sorted(groups.items()):
        rates[group] = {}
        for mode in ProbeMode:
            known = [tallies[sample_id, mode] for sample_id in ids if (sample_id, mode) in tallies]
            if known:
                rates[group][mode.value] = rate_range(known, k)
    return rates


def rate_range(tallies: Sequence[Tally], k: int) -> dict[str, float | int]:
    """Return the range in which the mean pass rate of k attempts lies, and the samples."""
    num_correct = sum(tally.num_correct for tally in tallies)
    num_open = sum(k - tally.num_made + tally.num_unknown for tally in tallies)
    total = k * len(tallies)
    return {
        "low": round(num_correct / total, 4),
        "high": round((num_correct + num_open) / total, 4),
        "num_samples": len(tallies),
    }
