"""What the recorded experiments of a grid hold, and the page of findings that it makes."""

from collections.abc import Sequence
from pathlib import Path

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.claims import CLAIMS, Claim
from agentic_vlm.analysis.costs_page import write_costs
from agentic_vlm.analysis.dynamics import StepFigures, rl_curves, rl_curves_by_family
from agentic_vlm.analysis.findings import Finding, GridRun, Outcome, judge_claim
from agentic_vlm.analysis.findings_page import Experiments, write_findings
from agentic_vlm.analysis.grid_tables import Grid, Planned, read_grid_tables, write_grid
from agentic_vlm.analysis.scores import Summary, parse_summary
from agentic_vlm.analysis.tool_use import kinds_of
from agentic_vlm.evaluation.summary import column_of, summarize_model
from agentic_vlm.params import load_params
from agentic_vlm.schema import CuratedSample, Rollout, ScoredAnswer, Trajectory
from agentic_vlm.store import iter_records
from flows.costs import CostLog
from flows.experiments import Bench
from flows.grid import Experiment

TABLES = "tables"
"""Folder of the tables beside the page."""


class Recorded:
    """Results read so far; each experiment is read once."""

    def __init__(self, bench: Bench, experiments: Sequence[Experiment], *, out: Path) -> None:
        """Begin with none.

        Args:
            bench: where the results are found.
            experiments: all that were asked for.
            out: folder of the page.
        """
        self._bench = bench
        self._experiments = experiments
        self._out = out
        self._runs: dict[str, GridRun] = {}
        self._curves: dict[str, list[StepFigures]] = {}
        self._families: dict[str, dict[str, list[StepFigures]]] = {}

    def add(self, experiment: Experiment, revision: str) -> None:
        """Read the results of an experiment.

        Raises:
            ArtifactMissing: the cache has lost them.
        """
        if experiment.name in self._runs:
            return
        with self._bench.results(revision, models=experiment.models) as folder:
            self._runs[experiment.name] = _read_run(experiment, folder / "data" / "scores")
            rollouts = folder / "data" / "rollouts" / "records"
            rows = list(iter_records(rollouts, Rollout)) if rollouts.exists() else []
            self._curves[experiment.name] = rl_curves(rows)
            curated = folder / "data" / "curated" / "records"
            samples = iter_records(curated, CuratedSample) if curated.exists() else ()
            families = {sample.sample_id: sample.family for sample in samples}
            self._families[experiment.name] = rl_curves_by_family(rows, families)

    def write(self) -> list[str]:
        """Write the tables, the page that they make, and the costs; return one line per claim."""
        names = [one.name for one in self._experiments]
        grid = Grid(
            self._bench.baseline,
            load_params(self._bench.root / "params.yaml").evaluate.num_bootstrap,
            tuple(
                Planned(one.name, one.seed, one.variant, one.overrides) for one in self._experiments
            ),
            tuple(self._runs[name] for name in names if name in self._runs),
            self._curves,
            self._families,
        )
        write_grid(grid, self._out / TABLES)
        findings = write_page(self._out)
        costs = CostLog(self._bench.root, self._bench.worktree, revision=self._bench.baseline)
        write_costs({name: costs.read(name) for name in names}, findings, self._out)
        width = max(len(outcome) for outcome in Outcome)
        return [
            f"{one.claim.key:4} {one.outcome:{width}}  {_seeds_behind(one):9}  {one.claim.text}"
            for one in findings
        ]


def _seeds_behind(finding: Finding) -> str:
    number = len(finding.seeds)
    return "one seed" if number == 1 else f"{number} seeds"


def write_page(folder: Path) -> list[Finding]:
    """Judge the claims and write the page from the tables in a folder alone; return the findings.

    Raises:
        ArtifactMissing: a table is missing.
        RecordError: a table is damaged or of another version.
    """
    grid = read_grid_tables(folder / TABLES)
    findings = [
        judge_claim(
            claim, grid.runs, seeds=_seeds(claim, grid.planned), num_bootstrap=grid.num_bootstrap
        )
        for claim in CLAIMS
    ]
    experiments = Experiments(
        grid.revision,
        {one.name: one.overrides for one in grid.planned},
        {run.name: _summary(run) for run in grid.runs},
        grid.runs,
        grid.curves,
        grid.families,
    )
    write_findings(findings, experiments, folder)
    return findings


def _seeds(claim: Claim, planned: Sequence[Planned]) -> list[int]:
    """Return the seeds for which both arms of a claim were asked for."""
    pairs = {(one.seed, one.variant) for one in planned}
    return [
        seed
        for seed in dict.fromkeys(one.seed for one in planned)
        if {(seed, claim.first.variant), (seed, claim.second.variant)} <= pairs
    ]


def _summary(run: GridRun) -> Summary:
    """Return the scores of an experiment as in its metrics/summary.json, without differences."""
    models = {name: summarize_model(rows) for name, rows in sorted(run.columns.items())}
    return parse_summary({"models": models, "paired": {}})


def _read_run(experiment: Experiment, scores: Path) -> GridRun:
    columns: dict[str, list[ScoredAnswer]] = {}
    kinds: dict[str, tuple[CallKind, ...]] = {}
    for model in sorted(path for path in scores.iterdir() if path.is_dir()):
        for score in iter_records(model / "scores", ScoredAnswer):
            columns.setdefault(column_of(score), []).append(score)
        episodes = model / "trajectories"
        for episode in iter_records(episodes, Trajectory) if episodes.exists() else ():
            if found := kinds_of(episode):
                kinds[episode.trajectory_id] = found
    return GridRun(experiment.name, experiment.seed, experiment.variant, columns, kinds)
