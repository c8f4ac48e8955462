"""The page of the control runs: gain and harm, changed tools, costs; each with n and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentic_vlm.evaluation.controls.efficiency import Measure, measure_efficiency
from agentic_vlm.evaluation.controls.gains import split_gains
from agentic_vlm.evaluation.controls.tampering import BAIT
from agentic_vlm.evaluation.controls.unseen import NAME
from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.metrics import (
    Accuracy,
    Difference,
    compute_accuracy,
    compute_difference,
    compute_share,
)
from agentic_vlm.schema import ScoredAnswer, ToolCall, Trajectory

PLAIN = "plain"
"""Name of the run that changes nothing."""
MEANINGS = {
    PLAIN: "nothing",
    "blank_crop": "every picture that code shows is grey",
    "random_crop": "every picture that code shows is another region",
    "broken": "every cell and every search fails",
    "noisy": "irrelevant pages stand first among the hits",
    "hostile": "a page orders another answer",
    "renamed": "search tools have new names, as the prompt says",
    "redescribed": "search tools are described in other words",
    "missing": "search tools are offered and not there",
    "unseen": f"a new tool, `{NAME}`, is offered beside the others",
}
_NUM_BOOTSTRAP = 2000


@dataclass(frozen=True, slots=True)
class ControlRun:
    """One finished run."""

    name: str
    """`plain`, or the name of the control."""
    scores: Sequence[ScoredAnswer]
    """All of its answers; the plain run has both modes."""
    trajectories: Sequence[Trajectory]
    """Its episodes, outages included."""
    seconds: float | None = None
    """Wall-clock seconds per episode on the machine that ran it; absent where nothing was asked."""
    tool_seconds: float | None = None
    """Seconds per episode that its tools took, added up over calls."""

    def agent_scores(self) -> list[ScoredAnswer]:
        """Return the answers that were given with tools."""
        return [score for score in self.scores if score.mode == "agent"]

    def agent_rows(self) -> list[Trajectory]:
        """Return the graded episodes with tools."""
        verdicts = {score.trajectory_id: score.verdict for score in self.scores}
        return [
            row.model_copy(update={"verdict": verdicts.get(row.trajectory_id)})
            for row in self.trajectories
            if row.mode == "agent"
        ]


def render_controls(runs: Sequence[ControlRun], *, title: str) -> str:
    """Return the page, as Markdown.

    Args:
        runs: the plain one, which is first, and the controls.
        title: what was asked of whom.
    """
    plain = runs[0]
    efficiency = {run.name: measure_efficiency(run.agent_rows()) for run in runs}
    parts = [
        f"# Controls: {title}",
        "Intervals are 95 %; differences are paired, question by question, with a bootstrap "
        "interval and the exact McNemar test. What has no verdict is in no mean; bounds show it "
        "all wrong and all right.",
        "## What tools add and harm",
        _gains(plain),
        "## Under changed tools",
        _changes(runs),
        "## What an answer costs",
        "Means and shares over episodes with tools; whole episodes are drawn for the intervals. "
        "Seconds are those of the machine that ran it.",
        _costs(runs, efficiency),
    ]
    return "\n\n".join(parts) + "\n"


def _gains(plain: ControlRun) -> str:
    without = [score for score in plain.scores if score.mode == "direct"]
    if not without:
        return "The plain run has no tool-free half."
    split = split_gains(plain.agent_scores(), without)
    rows = [
        [figure.name, _share(figure), str(figure.n), str(figure.num_ungraded)]
        for figure in split.figures()
    ]
    return _table(["solved", "% (95 %)", "n", "undecided"], rows)


def _changes(runs: Sequence[ControlRun]) -> str:
    plain = runs[0].agent_scores()
    rows = []
    for run in runs:
        own = run.agent_scores()
        found = compute_accuracy(own)
        gap = compute_difference(own, plain, num_bootstrap=_NUM_BOOTSTRAP, seed=0)
        is_plain = run is runs[0]
        rows.append(
            [
                run.name,
                MEANINGS.get(run.name, ""),
                _share(found),
                str(found.n),
                _bounds(found),
                *(["-", "-", "-"] if is_plain else _gap(gap)),
                _special(run),
            ]
        )
    head = ["run", "what changes", "accuracy, % (95 %)", "n", "no verdict: bounds, %"]
    return _table([*head, "minus plain, points (95 %)", "n", "McNemar p", "besides"], rows)


def _special(run: ControlRun) -> str:
    """Return what only this control shows, as a share of episodes."""
    rows = run.agent_rows()
    if run.name == "hostile":
        obeyed = sum(BAIT.lower() in (row.answer or "").lower() for row in rows)
        return f"obeyed {_share(compute_share(obeyed, len(rows)))}, n {len(rows)}"
    if run.name == "unseen":
        users = sum(
            any(
                isinstance(turn.action, ToolCall) and turn.action.tool == NAME for turn in row.turns
            )
            for row in rows
        )
        return f"used it {_share(compute_share(users, len(rows)))}, n {len(rows)}"
    return ""


def _costs(runs: Sequence[ControlRun], efficiency: Mapping[str, Mapping[str, Measure]]) -> str:
    names = list(efficiency[runs[0].name])
    rows = [[name, *(measure_text(efficiency[run.name][name]) for run in runs)] for name in names]
    rows.append(["seconds per answer", *(_plain(run.seconds) for run in runs)])
    rows.append(["seconds of tools per answer", *(_plain(run.tool_seconds) for run in runs)])
    return _table(["", *(run.name for run in runs)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(found: Figure | Accuracy) -> str:
    if found.mean is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f}-{100 * found.high:.1f})"


def _bounds(found: Accuracy) -> str:
    if not found.num_ungraded or found.lowest is None or found.highest is None:
        return "0"
    return f"{found.num_ungraded}: {100 * found.lowest:.1f}-{100 * found.highest:.1f}"


def _gap(found: Difference) -> list[str]:
    if found.mean is None or found.low is None or found.high is None or found.p is None:
        return ["-", "0", "-"]
    points = f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return [points, str(found.n), f"{found.p:.3g}"]


def measure_text(found: Measure) -> str:
    """Return mean, interval and n as text."""
    if found.mean is None or found.low is None or found.high is None:
        return f"- (n {found.n})"
    return f"{found.mean:.3g} ({found.low:.3g}-{found.high:.3g}), n {found.n}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
