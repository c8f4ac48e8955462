"""Writes findings.md, findings.json and the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentic_vlm.analysis.claim_sql import PAGE_QUERIES, claim_sql
from agentic_vlm.analysis.claims import Arm, Measure
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.estimates import Estimate
from agentic_vlm.analysis.findings import MIN_SAMPLES, Finding, GridRun, Outcome
from agentic_vlm.analysis.findings_figures import draw_findings, draw_training
from agentic_vlm.analysis.grid_families import family_sections
from agentic_vlm.analysis.reasons import explain
from agentic_vlm.analysis.scores import Entry, ModelScores, Summary, interval, percent, title_of
from agentic_vlm.analysis.tool_use import count_kinds, kinds_by_family_table
from agentic_vlm.runlog import write_json

_DIGITS = 6
_RULES = f"""\
An estimate is a mean over samples of a paired difference, first minus second, with its 95 %
bootstrap interval; over several seeds each sample counts with its mean over them. Where families of
questions are compared it is a difference of two means, and the samples are those of the smaller.

- *came out*: at every seed that the grid has for both arms the whole interval lies on the claimed
  side of the bound.
- *did not come out*: no part of the interval over all seeds lies there.
- *undecided*: all else, missing experiments and fewer than {MIN_SAMPLES} samples included.
- *one seed*: it rests on a single training, and another may come out otherwise.

The interval speaks of other samples of the same kind, not of other seeds: those are listed one by
one. Answers without a verdict are in no accuracy, outages of ours in nothing.

The key of a claim leads to the query that gives its estimate and its samples again from `tables/`,
with those of its seeds and families and the means of both arms:
`python -m agentic_vlm.store.query --live --allow-files "$(cat findings/queries/F1.sql)"`. Intervals
are the bootstrap of the differences that it averages; `python -m flows.findings --again` makes this
page and its figures from the tables alone."""


@dataclass(frozen=True, slots=True)
class Experiments:
    """What the findings rest on."""

    revision: str
    """Commit that was run."""
    overrides: Mapping[str, Sequence[str]]
    """Overrides on params.yaml by name of the experiment; those that failed too."""
    summaries: Mapping[str, Summary]
    """metrics/summary.json by name of the experiment, of those that finished."""
    runs: Sequence[GridRun] = ()
    """Their answers."""
    curves: Mapping[str, Sequence[StepFigures]] = field(default_factory=dict)
    """RL by name of the experiment."""
    families: Mapping[str, Mapping[str, Sequence[StepFigures]]] = field(default_factory=dict)
    """The same by family."""


def write_findings(findings: Sequence[Finding], experiments: Experiments, folder: Path) -> None:
    """Write the page, the figures, the JSON file and the queries; equal content, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_queries(findings, folder)
    draw_findings(findings, folder)
    draw_training(_curves_by_variant(experiments), folder)
    page = render_findings(findings, experiments)
    (folder / "findings.md").write_text(page, encoding="utf-8")
    content = {
        "revision": experiments.revision,
        "experiments": {name: list(keys) for name, keys in experiments.overrides.items()},
        "missing": _missing(experiments),
        "findings": [_as_json(finding, experiments) for finding in findings],
    }
    write_json(folder / "findings.json", content)


def _write_queries(findings: Sequence[Finding], folder: Path) -> None:
    """Write the query of each claim and table, to be run from the folder above."""
    (folder / "queries").mkdir(exist_ok=True)
    tables = f"{folder.name}/tables"
    texts = {name: text.format(tables=tables) for name, text in PAGE_QUERIES.items()}
    texts |= {one.claim.key: claim_sql(one.claim, tables=tables) for one in findings}
    for name, text in texts.items():
        (folder / "queries" / f"{name}.sql").write_text(text, encoding="utf-8")


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
        "## Why the others did not come out, as far as the data suggest",
        _reason_list(findings, experiments),
        "## Kinds of calls by family",
        "Shares of the calls of `grpo`, cold start against RL, over all its seeds and questions"
        " ([query](queries/kinds.sql)).",
        _kind_table(experiments),
        "## Training",
        "Means over the rollouts of each RL step and over the experiments of a variant. Surprisal,"
        " nats per token, estimates the entropy ([query](queries/training.sql);"
        " [ends](queries/training_ends.sql) of each experiment).",
        "![RL by variant](training.png)",
        *family_sections(experiments.runs, experiments.families),
        "## By seed",
        _seed_table(findings),
        "## Experiments",
        "Each is a DVC experiment of that name (`dvc exp show`). Accuracy in % with its interval;"
        " calls per answer ([query](queries/experiments.sql)).",
        _experiment_table(experiments),
    ]
    return "\n\n".join(sections) + "\n"


def _finding_table(findings: Sequence[Finding]) -> str:
    rows = [
        "| | claim | from | outcome | estimate (95 %) | samples | clear at |",
        "|---|---|---|---|---|---|---|",
    ]
    for finding in findings:
        claim, found = finding.claim, finding.estimate
        num_clear = sum(result.is_clear for result in finding.seeds)
        cells = [
            f"[{claim.key}](queries/{claim.key}.sql)",
            claim.text,
            claim.source or "-",
            f"**{finding.outcome}**{_seed_note(finding)}",
            _say(found, claim.measure),
            "-" if found is None else str(found.n),
            f"{num_clear} of {finding.num_seeds} seeds",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _seed_note(finding: Finding) -> str:
    """Return what is said behind an outcome that no other seed can confirm."""
    return ", one seed" if len(finding.seeds) == 1 else ""


def _seed_table(findings: Sequence[Finding]) -> str:
    rows = ["| | first - second | seed | estimate (95 %) | samples | clear | experiments |"]
    rows.append("|---|---|---|---|---|---|---|")
    for finding in findings:
        claim = finding.claim
        both = claim.first.variant == claim.second.variant and claim.is_paired
        first, second = (_name(arm, is_short=both) for arm in (claim.first, claim.second))
        about = f" of {' and '.join(claim.first.families)}" if both and claim.first.families else ""
        kind = f"{claim.need or 'all'} questions{about}"
        for result in finding.seeds:
            cells = [
                claim.key,
                f"{first} - {second}, {claim.measure}, {kind}",
                str(result.seed),
                _say(result.estimate, claim.measure),
                str(result.estimate.n),
                "yes" if result.is_clear else "no",
                ", ".join(result.runs),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _name(arm: Arm, *, is_short: bool) -> str:
    if is_short:
        return title_of(arm.column)
    return f"{title_of(arm.column)} ({', '.join([arm.variant, *arm.families])})"


def _reason_list(findings: Sequence[Finding], experiments: Experiments) -> str:
    lines = []
    for finding in findings:
        reasons = explain(finding, experiments.runs, experiments.curves)
        if reasons:
            head = f"- **{finding.claim.key}** ({finding.outcome}): {finding.claim.text}"
            lines += [head, *(f"  - {reason}" for reason in reasons)]
    return "\n".join(lines) if lines else "All came out."


def _kind_table(experiments: Experiments) -> str:
    own = [run for run in experiments.runs if run.variant == "grpo"]
    models = {
        column: count_kinds(
            [row for run in own for row in run.columns.get(column, ())],
            {name: kinds for run in own for name, kinds in run.kinds.items()},
        )
        for column in ("sft", "rl")
    }
    return kinds_by_family_table(models)


def _curves_by_variant(experiments: Experiments) -> dict[str, list[StepFigures]]:
    found: dict[str, list[StepFigures]] = {}
    for run in experiments.runs:
        steps = experiments.curves.get(run.name, ())
        # A single step, as in the ablations of the cold start, is no training.
        if len(steps) > 1:
            found.setdefault(run.variant, []).extend(steps)
    return found


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
    """Return an estimate with its interval; shares in points, counts as they are."""
    if estimate is None:
        return "-"
    scale, digits = (100, 1) if measure.is_share else (1, 2)
    unit = "points" if measure.is_share else "tokens" if measure is Measure.TOKENS else "calls"
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


def _as_json(finding: Finding, experiments: Experiments) -> dict[str, object]:
    claim = finding.claim
    return {
        "key": claim.key,
        "claim": claim.text,
        "source": claim.source,
        "measure": claim.measure,
        "questions": claim.need,
        "first": claim.first._asdict(),
        "second": claim.second._asdict(),
        "expected": {"side": "above" if claim.is_rise else "below", "bound": claim.bound},
        "outcome": finding.outcome,
        "is_paired": claim.is_paired,
        "reasons": explain(finding, experiments.runs, experiments.curves),
        "estimate": None if finding.estimate is None else _rounded(finding.estimate),
        "num_seeds": finding.num_seeds,
        "rests_on_one_seed": len(finding.seeds) == 1,
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
