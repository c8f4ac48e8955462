"""Which held-out questions had a twin among the training sources, and what scores are without them.

`curate` leaves such training rows out, so that a trained model has not seen them; whoever made the
base may have. The flags stand next to the scores, so that a reader sees how far they carry.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from agentic_vlm.evaluation.metrics import Accuracy, compute_accuracy
from agentic_vlm.schema import RawSample, Rejection, RejectReason, ScoredAnswer

# As curate words it: "equals S/N:1", "picture ... is that of S/N:1", "shares ... with S/N:1",
# "asks nearly what S/N:1 asks: ...".
_NAMED = re.compile(r"(?:^equals|is that of|with|nearly what) (\w+/\w+:.+?)(?: asks: .*)?$", re.S)


class Twins(NamedTuple):
    """Questions of suites that training sources hold too."""

    sample_ids: frozenset[str]
    """Samples with a twin."""
    num_unknown: int
    """Rows left out for a question that no suite holds any more."""


def find_twins(rejections: Iterable[Rejection], held_out: Iterable[RawSample]) -> Twins:
    """Return the samples of suites for whose sake `curate` left a training row out.

    Args:
        rejections: of stage curate.
        held_out: the samples of the suites.
    """
    ids = {f"{row.split}/{row.source}:{row.source_row_id}": row.sample_id for row in held_out}
    found, num_unknown = set(), 0
    for rejection in rejections:
        if rejection.reason is not RejectReason.CONTAMINATED:
            continue
        match = _NAMED.search(rejection.evidence)
        sample_id = None if match is None else ids.get(match[1])
        if sample_id is None:
            num_unknown += 1
        else:
            found.add(sample_id)
    return Twins(frozenset(found), num_unknown)


def contamination_table(models: Mapping[str, Sequence[ScoredAnswer]], twins: Twins) -> str:
    """Return Markdown: per suite and model the score over all, and over those without a twin.

    Args:
        models: scored answers by what a model and mode are called.
        twins: of `find_twins`.
    """
    lines = [
        "| suite | model | with a twin | all, % (95 %) | n | without them, % (95 %) | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, rows in models.items():
        for suite in sorted({row.suite for row in rows}):
            own = [row for row in rows if row.suite == suite]
            clean = [row for row in own if row.sample_id not in twins.sample_ids]
            num_twins = len({row.sample_id for row in own} & twins.sample_ids)
            whole, rest = compute_accuracy(own), compute_accuracy(clean)
            cells = [suite, model, str(num_twins), _share(whole), str(whole.n)]
            lines.append(f"| {' | '.join([*cells, _share(rest), str(rest.n)])} |")
    if twins.num_unknown:
        lines.append(
            f"\n{twins.num_unknown} more rows were left out for questions of other suites."
        )
    return "\n".join(lines)


def _share(found: Accuracy) -> str:
    if found.mean is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f}-{100 * found.high:.1f})"
