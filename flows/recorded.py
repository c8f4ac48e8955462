"""What the recorded experiments of a grid hold, and the page of findings that it makes."""

import json
from collections.abc import Sequence
from pathlib import Path

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.claims import CLAIMS, Claim
from agentic_vlm.analysis.costs_page import write_costs
from agentic_vlm.analysis.dynamics import StepFigures, rl_curves
from agentic_vlm.analysis.findings import GridRun, Outcome, judge_claim
from agentic_vlm.analysis.findings_page import Experiments, write_findings
from agentic_vlm.analysis.scores import Summary, parse_summary
from agentic_vlm.analysis.tool_use import kinds_of
from agentic_vlm.evaluation.summary import column_of
from agentic_vlm.params import load_params
from agentic_vlm.schema import Rollout, ScoredAnswer, Trajectory
from agentic_vlm.store import iter_records
from flows.costs import CostLog
from flows.experiments import Bench, Experiment


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
        self._summaries: dict[str, Summary] = {}
        self._curves: dict[str, list[StepFigures]] = {}

    def add(self, experiment: Experiment, revision: str) -> None:
        """Read the results of an experiment.

        Raises:
            ArtifactMissing: the cache has lost them.
        """
        if experiment.name in self._runs:
            return
        with self._bench.results(revision) as folder:
            self._runs[experiment.name] = _read_run(experiment, folder / "data" / "scores")
            rollouts = folder / "data" / "rollouts" / "records"
            rows = iter_records(rollouts, Rollout) if rollouts.exists() else ()
            self._curves[experiment.name] = rl_curves(rows)
            content = json.loads((folder / "metrics/summary.json").read_text(encoding="utf-8"))
            self._summaries[experiment.name] = parse_summary(content)

    def write(self) -> list[str]:
        """Judge the claims on what there is, write the page, and return one line per claim."""
        num_bootstrap = load_params(self._bench.root / "params.yaml").evaluate.num_bootstrap
        order = [one.name for one in self._experiments]
        runs = [self._runs[name] for name in order if name in self._runs]
        findings = [
            judge_claim(claim, runs, seeds=self._seeds(claim), num_bootstrap=num_bootstrap)
            for claim in CLAIMS
        ]
        experiments = Experiments(
            self._bench.baseline,
            {one.name: one.overrides for one in self._experiments},
            self._summaries,
            runs,
            self._curves,
        )
        write_findings(findings, experiments, self._out)
        costs = CostLog(self._bench.root, self._bench.worktree, revision=self._bench.baseline)
        write_costs({name: costs.read(name) for name in order}, findings, self._out)
        width = max(len(outcome) for outcome in Outcome)
        return [f"{one.claim.key:4} {one.outcome:{width}}  {one.claim.text}" for one in findings]

    def _seeds(self, claim: Claim) -> list[int]:
        """Return the seeds for which both arms of a claim were asked for."""
        pairs = {(one.seed, one.variant) for one in self._experiments}
        return [
            seed
            for seed in dict.fromkeys(one.seed for one in self._experiments)
            if {(seed, claim.first.variant), (seed, claim.second.variant)} <= pairs
        ]


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
