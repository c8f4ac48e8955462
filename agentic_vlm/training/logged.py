"""Figures of RL that are in the trainer's log alone; checkpoints keep it over kills."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agentic_vlm.params import Params
from agentic_vlm.training.mismatch import mismatch_names

HELD_OUT = ("held_out_accuracy", "held_out_calls", "held_out_graded")
"""Names of the figures on held-out samples."""


class Logged(NamedTuple):
    """What the log holds beside the rollouts."""

    held_out: Mapping[int, Mapping[str, float]]
    """Figures on held-out samples by finished steps."""
    mismatch: Mapping[int, Mapping[str, float]]
    """How far sampler and trainer differ, by step; empty where this process samples."""
    mismatch_names: Sequence[str]
    """Names of those figures, in order."""


def read_log(log: Sequence[Mapping[str, float]], params: Params) -> Logged:
    """Return the figures of a log with `num_minibatches` updates per step."""
    unit = params.train_rl.num_minibatches
    names = mismatch_names(params.agent.max_turns)
    return Logged(
        {
            int(row["step"]) // unit: {name: round(row[name], 6) for name in HELD_OUT}
            for row in log
            if HELD_OUT[0] in row
        },
        {
            (int(row["step"]) - 1) // unit: {name: row[name] for name in names if name in row}
            for row in log
            if names[0] in row
        },
        names,
    )


def last_figures(
    name: str, figures: Mapping[int, Mapping[str, float]]
) -> dict[str, Mapping[str, float]]:
    """Return the figures of the last step under a name; nothing where there are none."""
    return {name: figures[max(figures)]} if figures else {}
