"""Writes findings.md, findings.json and the figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentic_vlm.analysis.canvas import drawing, say_not_run
from agentic_vlm.analysis.findings import MIN_SAMPLES, Estimate, Finding, Measure, Outcome
from agentic_vlm.analysis.scores import Entry, ModelScores, Summary, interval, percent, title_of
from agentic_vlm.runlog import write_json

_DIGITS = 6
_COLOURS = {
    Outcome.CAME_OUT: "#009e73",
    Outcome.DID_NOT: "#d55e00",
    Outcome.UNDECIDED: "#777777",
}
_RULES = f"""\
An estimate is a mean over samples of a paired difference, first minus second, with its 95 %
bootstrap interval; over several seeds each sample counts with its mean over them.

- *came out*: at every seed the whole interval lies on the claimed side of the bound.
- *did not come out*: no part of the interval over all seeds lies there.
- *undecided*: all else, missing experiments and fewer than {MIN_SAMPLES} samples included.

The interval speaks of other samples of the same kind, not of other seeds: those are listed one by
one. Answers without a verdict are in no accuracy, outages of ours in nothing."""


@dataclass(frozen=True, slots=True)
class Experiments:
    """What the findings rest on."""

    revision: str
    """Commit that was run."""
    overrides: Mapping[str, Sequence[str]]
    """Overrides on params.yaml by name of the experiment; those that failed too."""
    summaries: Mapping[str, Summary]
    """metrics/summary.json by name of the experiment, of those that finished."""


def write_findings(findings: Sequence[Finding], experiments: Experiments, folder: Path) -> None:
    """Write the page, the figure and the JSON file; equal content gives equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_findings(findings, folder)
    page = render_findings(findings, experiments)
    (folder / "findings.md").write_text(page, encoding="utf-8")
    content = {
        "revision": experiments.revision,
        "experiments": {name: list(keys) for name, keys in experiments.overrides.items()},
        "missing": _missing(experiments),
        "findings": [_as_json(finding) for finding in findings],
    }
    write_json(folder / "findings.json", content)


def render_findings(findings: Sequence[Finding], experiments: Experiments) -> str:
    """Return the page as Markdown."""
    missing = _missing(experiments)
    sections = [
        "# Findings",
        f"`make findings` on commit {experiments.revision[:12]}. {_tally(findings)}",
        *([f"Without a result: {', '.join(missing)}."] if missing else []),
        _finding_table(findings),
        "![Estimates and intervals by claim](findings.png)",
        _RULES,
        "## By seed",
        _seed_table(findings),
        "## Experiments",
        "Each is a DVC experiment of that name (`dvc exp show`). Accuracy in % with its interval;"
        " calls per answer.",
        _experiment_table(experiments),
    ]
    return "\n\n".join(sections) + "\n"


def draw_findings(findings: Sequence[Finding], folder: Path) -> None:
    """Draw the estimate of each claim over all seeds, and below it each seed."""
    size = (8.0, 0.8 * max(len(findings), 1) + 1.6)
    with drawing(folder, "findings", size=size) as figure:
        axes = figure.subplots()
        shown = [finding for finding in findings if finding.estimate is not None]
        if not shown:
            say_not_run(axes, "experiments")
            return
        for place, finding in enumerate(shown):
            colour = _COLOURS[finding.outcome]
            estimates = [finding.estimate, *(result.estimate for result in finding.seeds)]
            for rank, estimate in enumerate(one for one in estimates if one is not None):
                at, width = place + 0.14 * rank, 3.0 if rank == 0 else 1.0
                axes.plot([estimate.low, estimate.high], [at, at], color=colour, linewidth=width)
                axes.plot([estimate.mean], [at], "o", color=colour, markersize=3 + width)
            bound = finding.claim.bound
            axes.plot([bound, bound], [place - 0.2, place + 0.6], color="black", linewidth=1)
        labels = [f"{one.claim.key}, {one.claim.measure}\n{one.outcome}" for one in shown]
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.2, -0.5)
        axes.set_xlabel("difference per answer; thick: all seeds, thin: each; black: bound")


def _finding_table(findings: Sequence[Finding]) -> str:
    rows = [
        "| | claim | outcome | estimate (95 %) | samples | clear at |",
        "|---|---|---|---|---|---|",
    ]
    for finding in findings:
        claim, found = finding.claim, finding.estimate
        num_clear = sum(result.is_clear for result in finding.seeds)
        cells = [
            claim.key,
            claim.text,
            f"**{finding.outcome}**",
            _say(found, claim.measure),
            "-" if found is None else str(found.n),
            f"{num_clear} of {finding.num_seeds} seeds",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _seed_table(findings: Sequence[Finding]) -> str:
    rows = ["| | first - second | seed | estimate (95 %) | samples | clear | experiments |"]
    rows.append("|---|---|---|---|---|---|---|")
    for finding in findings:
        claim = finding.claim
        first, second = (
            title_of(arm.column) if claim.first.variant == claim.second.variant
            else f"{title_of(arm.column)} ({arm.variant})"
            for arm in (claim.first, claim.second)
        )  # fmt: skip
        for result in finding.seeds:
            cells = [
                claim.key,
                f"{first} - {second}, {claim.measure}, {claim.need} questions",
                str(result.seed),
                _say(result.estimate, claim.measure),
                str(result.estimate.n),
                "yes" if result.is_clear else "no",
                ", ".join(result.runs),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _experiment_table(experiments: Experiments) -> str:
    rows = [
        "| experiment | overrides | model | tool questions | direct questions "
        "| calls, tool | calls, direct | tool rate, direct |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, keys in experiments.overrides.items():
        summary = experiments.summaries.get(name)
        changed = ", ".join(f"`{key}`" for key in keys) or "-"
        if summary is None:
            rows.append(f"| {name} | {changed} | no result | - | - | - | - | - |")
            continue
        for model in summary.names():
            cells = [name, changed, title_of(model), *_figures(summary.models[model])]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _figures(scores: ModelScores) -> list[str]:
    tool, direct = scores.tool, scores.direct
    return [
        _accuracy(tool),
        _accuracy(direct),
        _calls(tool),
        _calls(direct),
        "-" if direct is None else percent(direct.tool_rate),
    ]


def _accuracy(entry: Entry | None) -> str:
    return "-" if entry is None else interval(entry.accuracy)


def _calls(entry: Entry | None) -> str:
    return "-" if entry is None or entry.calls is None else f"{entry.calls:.2f}"


def _say(estimate: Estimate | None, measure: Measure) -> str:
    """Return an estimate with its interval; shares in points, calls as they are."""
    if estimate is None:
        return "-"
    scale, unit, digits = (1, "calls", 2) if measure is Measure.CALLS else (100, "points", 1)
    mean, low, high = (
        f"{scale * value:+.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high)
    )
    return f"{mean} ({low} to {high}) {unit}"


def _tally(findings: Sequence[Finding]) -> str:
    counts = {outcome: 0 for outcome in Outcome}
    for finding in findings:
        counts[finding.outcome] += 1
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + "."


def _missing(experiments: Experiments) -> list[str]:
    return [name for name in experiments.overrides if name not in experiments.summaries]


def _as_json(finding: Finding) -> dict[str, object]:
    claim = finding.claim
    return {
        "key": claim.key,
        "claim": claim.text,
        "measure": claim.measure,
        "questions": claim.need,
        "first": claim.first._asdict(),
        "second": claim.second._asdict(),
        "expected": {"side": "above" if claim.is_rise else "below", "bound": claim.bound},
        "outcome": finding.outcome,
        "estimate": None if finding.estimate is None else _rounded(finding.estimate),
        "num_seeds": finding.num_seeds,
        "seeds": [
            {
                "seed": result.seed,
                "experiments": list(result.runs),
                "is_clear": result.is_clear,
                **_rounded(result.estimate),
            }
            for result in finding.seeds
        ],
    }


def _rounded(estimate: Estimate) -> dict[str, float | int]:
    return {
        name: round(value, _DIGITS) if isinstance(value, float) else value
        for name, value in estimate._asdict().items()
    }
