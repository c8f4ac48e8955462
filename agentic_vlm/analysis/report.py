"""Writes the folder of the report: report.md, figures, examples.html."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.dynamics import PassCounts, StepFigures
from agentic_vlm.analysis.error_tables import (
    change_table,
    error_table,
    evidence_table,
    sequence_table,
)
from agentic_vlm.analysis.examples import Example, render_page
from agentic_vlm.analysis.family_dynamics import (
    draw_family_dynamics,
    family_dynamics_table,
    family_kinds_table,
)
from agentic_vlm.analysis.figures import (
    FigureFile,
    draw_accuracy,
    draw_calls,
    draw_passes,
    draw_rl,
)
from agentic_vlm.analysis.flow import FlowRow
from agentic_vlm.analysis.model_page import write_model_page
from agentic_vlm.analysis.report_queries import QUERIES, asked, counted
from agentic_vlm.analysis.report_tables import BenchmarkFigure, write_report_tables
from agentic_vlm.analysis.scores import Summary, title_of
from agentic_vlm.analysis.tables import (
    accuracy_table,
    escape,
    family_table,
    flow_table,
    kinds_table,
    left_out_table,
    pair_table,
    realx_table,
)
from agentic_vlm.analysis.tool_use import kinds_by_family_table, kinds_of
from agentic_vlm.analysis.work import Work, work_table
from agentic_vlm.schema import CheckpointCard, RawSample, Trajectory
from agentic_vlm.store import ImageStore

_FIGURES = "figures"
TRAJECTORIES = "trajectories.html"
"""The page of trajectories beside the report, which the stage writes."""


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What the report shows; parts that were not run are empty, and it says so."""

    summary: Summary
    """metrics/summary.json."""
    trajectories: Mapping[str, Sequence[Trajectory]]
    """Graded episodes by model, as named in the summary."""
    samples: Mapping[str, RawSample]
    """Samples of the suites by id."""
    curves: Sequence[StepFigures]
    """RL steps; empty where RL was not run."""
    family_curves: Mapping[str, Sequence[StepFigures]]
    """The same by family."""
    passes: Mapping[str, PassCounts]
    """Probe by mode; empty where it was not run."""
    flow: Sequence[FlowRow]
    """What the stages wrote."""
    examples: Sequence[Example]
    """Trajectories to show in full."""
    pictures: ImageStore
    """Their pictures."""
    work: Sequence[Work] = ()
    """What the episodes of each stage took."""
    suite_tables: str = ""
    """Markdown: one table per family of benchmarks, the paper's rows beside ours."""
    suite_figures: Mapping[str, str] = field(default_factory=dict)
    """Markdown by model: every figure of its benchmarks."""
    benchmarks: Sequence[BenchmarkFigure] = ()
    """The same figures as rows."""
    cards: Mapping[str, CheckpointCard] = field(default_factory=dict)
    """Card of each model, as named in the summary."""
    contamination: str = ""
    """Markdown: which questions have a twin in training sources; empty where none was looked for.
    """


def write_report(content: ReportContent, folder: Path) -> None:
    """Write the report into a folder; equal content gives equal bytes."""
    figures = folder / _FIGURES
    curves_by_family = {"all": content.curves, **content.family_curves}
    write_report_tables(
        content.trajectories,
        content.samples,
        curves_by_family,
        folder,
        benchmarks=content.benchmarks,
        queries=frozenset(QUERIES) - _unasked(content),
    )
    scores = draw_accuracy(content.summary, figures), draw_calls(content.summary, figures)
    curves, passes = draw_rl(content.curves, figures), draw_passes(content.passes, figures)
    families = draw_family_dynamics(content.family_curves, figures)
    links = {
        name: write_model_page(
            name,
            content.summary,
            content.trajectories.get(name, ()),
            folder,
            benchmarks=content.suite_figures.get(name, ""),
            card=content.cards.get(name),
        )
        for name in content.summary.names()
    }
    text = _render(content, links, scores=scores, curves=(curves, families), passes=passes)
    (folder / "report.md").write_text(text, encoding="utf-8")
    page = render_page(content.examples, content.pictures)
    (folder / "examples.html").write_text(page, encoding="utf-8")


def _unasked(content: ReportContent) -> set[str]:
    """Return the queries of sections that the report leaves out."""
    names = set() if content.contamination else {"contamination"}
    return names if content.suite_tables else {*names, "benchmarks", "benchmark_overall"}


def _render(
    content: ReportContent,
    links: Mapping[str, str],
    *,
    scores: tuple[FigureFile, FigureFile],
    curves: tuple[FigureFile, FigureFile],
    passes: FigureFile,
) -> str:
    accuracy, calls = scores
    sections = [
        "# Report",
        *_score_sections(content.summary, accuracy),
        *_model_sections(links),
        *_suite_sections(content.suite_tables),
        *_contamination_sections(content.contamination),
        *_tool_sections(content, calls),
        *_error_sections(content),
        *_training_sections(content, curves),
        "## What the base could do",
        _embed(passes),
        counted("probe_passes"),
        "## Data",
        flow_table(content.flow),
        f"{asked('rejections_by_reason')} {counted('rows_by_stage')}",
        "### What it took",
        "Tokens that policies wrote and calls that they made. Seconds, CPU and GPU seconds and "
        "money belong to a machine: `python -m agentic_vlm.analysis.ledger` shows them.",
        work_table(content.work),
        asked("work_by_stage"),
        "## Examples",
        f"[examples.html](examples.html) shows {len(content.examples)} trajectories with pictures; "
        f"in [{TRAJECTORIES}]({TRAJECTORIES}) all models answer the same samples, with filters, "
        "turns to step through, and crops on the original.",
    ]
    return "\n\n".join(sections) + "\n"


def _score_sections(summary: Summary, accuracy: FigureFile) -> list[str]:
    return [
        "Answers without a verdict (outages of ours, doubts of the grader) are in no mean; "
        "`bounds` shows the accuracy if all of them were wrong, and if all were right.",
        "Each table and figure names the query that gives its numbers again: one of the index, or "
        "a file over the tables beside this page, to be run from the root of the project with "
        '`python -m agentic_vlm.store.query --live --allow-files "$(cat FILE)"`. Bootstrap '
        "intervals are drawn from the same rows, by evaluation/metrics.py.",
        "## Scores",
        accuracy_table(summary) if summary.models else "evaluate: not run",
        asked("scores"),
        "### Differences",
        "On the samples that both models answered: paired bootstrap interval, exact McNemar test.",
        pair_table(summary),
        asked("score_differences"),
        _embed(accuracy),
        asked("scores"),
        "### By family",
        family_table(summary),
        asked("scores"),
        "### By ability, as in RealX-Bench",
        "Accuracy in %. A question may need several abilities; integration needs all three.",
        realx_table(summary),
        asked("score_by_ability"),
    ]


def _suite_sections(tables: str) -> list[str]:
    if not tables:
        return []
    told = (
        "Means in % with 95 % intervals; n counts what is independent, bounds stand where answers "
        "have no verdict. A partial run is not comparable with the rows of the paper."
    )
    return ["### Benchmarks", told, tables, counted("benchmarks", "benchmark_overall")]


def _model_sections(links: Mapping[str, str]) -> list[str]:
    if not links:
        return []
    lines = [f"- [{escape(title_of(name))}]({link})" for name, link in links.items()]
    return ["### One page per model", "\n".join(lines)]


def _contamination_sections(content: str) -> list[str]:
    if not content:
        return []
    told = (
        "Questions that a training source holds too. `curate` left the training rows out; what the "
        "base has seen before is not known."
    )
    return ["### Contamination", told, content, counted("contamination")]


def _tool_sections(content: ReportContent, calls: FigureFile) -> list[str]:
    return [
        "## Use of tools",
        _embed(calls),
        asked("scores"),
        "### What calls are for",
        "Read from the code of each call; a call that failed is an error, whatever it was for.",
        kinds_table(content.trajectories),
        "### Kinds by family",
        kinds_by_family_table(_kinds_by_family(content)),
        counted("calls_by_kind"),
        "### Combinations",
        sequence_table(content.trajectories),
        counted("combinations"),
        "### Left out, by number of calls",
        "Outages hit those who call tools. Where the shares differ, the means above are biased.",
        left_out_table(content.trajectories),
        counted("left_out"),
    ]


def _error_sections(content: ReportContent) -> list[str]:
    episodes, samples = content.trajectories, content.samples
    return [
        "## Why answers are wrong",
        "The first fault that decided, by rule; docs/findings.md says how well the rules agree with"
        " a reader.",
        error_table(episodes, samples),
        counted("errors"),
        "### What crops showed",
        "Where the sample says what there is to see: a crop shows the evidence if it holds half of"
        " it.",
        evidence_table(episodes, samples),
        counted("crops"),
        "### What RL newly solves and newly breaks",
        change_table(episodes, samples, before="sft", after="rl"),
        counted("changes"),
    ]


def _training_sections(content: ReportContent, curves: tuple[FigureFile, FigureFile]) -> list[str]:
    over_all, by_family = curves
    return [
        "## Reinforcement learning",
        _embed(over_all),
        counted("rl_steps"),
        "### RL by family",
        "Means over the rollouts of the first five steps -> those of the last five.",
        family_dynamics_table(content.family_curves),
        counted("rl_ends"),
        "Calls per rollout, by what they are for:",
        family_kinds_table(content.family_curves),
        counted("rl_kinds"),
        _embed(by_family),
        counted("rl_steps"),
    ]


def _kinds_by_family(content: ReportContent) -> dict[str, dict[str, Counter[CallKind]]]:
    found: dict[str, dict[str, Counter[CallKind]]] = {}
    for model, episodes in content.trajectories.items():
        own: dict[str, Counter[CallKind]] = {}
        for episode in episodes:
            sample = content.samples.get(episode.sample_id)
            if sample is not None:
                own.setdefault(sample.family, Counter()).update(kinds_of(episode))
        if any(counts.total() for counts in own.values()):
            found[model] = own
    return found


def _embed(figure: FigureFile) -> str:
    return f"![{figure.caption}]({_FIGURES}/{figure.name}.png)\n\n*{figure.caption}*"
