"""Writes costs.md and costs.json beside the findings: what the grid cost on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from agentic_vlm.analysis.findings import Finding
from agentic_vlm.analysis.ledger import Cost
from agentic_vlm.analysis.tables import table
from agentic_vlm.runlog import write_json

_HEAD = (
    "seconds",
    "CPU s",
    "GPU s",
    "episodes",
    "tokens",
    "calls",
    "searches",
    "tool s",
    "judge calls",
    "USD",
    "tokens each",
    "USD each",
)
_RULES = """\
Facts of the machine that ran the grid. A stage that several experiments share is booked to the one
during which it ran, and what DVC took from its cache cost nothing: the row of an experiment depends
on what ran before it. GPU seconds are seconds times GPUs held by a stage, without those of model
servers. Tool seconds add up calls that may overlap. Each: per episode."""


def write_costs(
    costs: Mapping[str, Sequence[Cost]], findings: Sequence[Finding], folder: Path
) -> None:
    """Write the page and the JSON file.

    Args:
        costs: runs of stages by name of the experiment to which they are booked.
        findings: claims, with the experiments behind them.
        folder: that of the findings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "costs.md").write_text(render_costs(costs, findings), encoding="utf-8")
    content = {
        "experiments": {name: [asdict(cost) for cost in runs] for name, runs in costs.items()},
        "findings": {cost.run: asdict(cost) for cost in finding_costs(costs, findings)},
    }
    write_json(folder / "costs.json", content)


def render_costs(costs: Mapping[str, Sequence[Cost]], findings: Sequence[Finding]) -> str:
    """Return the page as Markdown."""
    experiments = [Cost.total(name, runs) for name, runs in costs.items()]
    sections = [
        "# Costs",
        _RULES,
        "## By experiment",
        _table("experiment", [*experiments, Cost.total("all", experiments)]),
        "## By stage",
        _table("stage", stage_costs(costs)),
        "## By finding",
        "All experiments behind a claim; several claims share one, so that rows do not add up.",
        _table("claim", finding_costs(costs, findings)),
    ]
    return "\n\n".join(sections) + "\n"


def stage_costs(costs: Mapping[str, Sequence[Cost]]) -> list[Cost]:
    """Return what each stage cost over all experiments, the dearest first."""
    by_run: dict[str, list[Cost]] = {}
    for runs in costs.values():
        for cost in runs:
            by_run.setdefault(cost.run, []).append(cost)
    totals = [Cost.total(run, parts) for run, parts in by_run.items()]
    return sorted(totals, key=lambda cost: (-cost.wall_s, cost.run))


def finding_costs(costs: Mapping[str, Sequence[Cost]], findings: Sequence[Finding]) -> list[Cost]:
    """Return what the experiments behind each claim cost, in the order of the claims."""
    found = []
    for finding in findings:
        names = dict.fromkeys(name for result in finding.seeds for name in result.runs)
        parts = [cost for name in names for cost in costs.get(name, ())]
        found.append(Cost.total(finding.claim.key, parts))
    return found


def _table(title: str, costs: Sequence[Cost]) -> str:
    return table([title, *_HEAD], [[cost.run, *_cells(cost)] for cost in costs])


def _cells(cost: Cost) -> list[str]:
    each = cost.num_episodes
    return [
        f"{cost.wall_s:.1f}",
        f"{cost.cpu_s:.1f}",
        f"{cost.gpu_s:.1f}",
        f"{cost.num_episodes:,}",
        f"{cost.num_tokens:,}",
        f"{cost.num_calls:,}",
        f"{cost.num_searches:,}",
        f"{cost.tool_s:.1f}",
        f"{cost.num_judge_calls:,}",
        f"{cost.usd:.4f}",
        f"{cost.num_tokens / each:.1f}" if each else "-",
        f"{cost.usd / each:.6f}" if each else "-",
    ]
