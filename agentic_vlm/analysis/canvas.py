"""Figures as files with equal bytes for equal content: no date, no version, no random ids."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
MODEL_COLOURS = {"base_direct": "#bbbbbb", "base": "#777777", "sft": "#e69f00", "rl": "#0072b2"}

_DOTS_PER_INCH = 110


@contextmanager
def drawing(folder: Path, name: str, *, size: tuple[float, float]) -> Iterator[Figure]:
    """Give an empty figure; when the block ends well, write NAME.png and NAME.svg.

    Args:
        folder: where the two files go.
        name: their stem.
        size: width and height, inches.
    """
    with mpl.rc_context(
        {
            "svg.hashsalt": "agentic-vlm",
            # Names of families and models come from data: a dollar sign must not start a formula.
            "text.parse_math": False,
            "font.size": 10.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.alpha": 0.3,
            "axes.axisbelow": True,
            "legend.frameon": False,
        }
    ):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        folder.mkdir(parents=True, exist_ok=True)
        blank = {"Software": None}
        figure.savefig(folder / f"{name}.png", dpi=_DOTS_PER_INCH, metadata=blank)
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(folder / f"{name}.svg", metadata=nothing)


def colour_of(model: str, index: int) -> str:
    """Return the colour of a model; unknown ones take the palette by their place."""
    return MODEL_COLOURS.get(model, COLOURS[(index + 2) % len(COLOURS)])


def say_not_run(axes: Axes, what: str) -> None:
    """Write in an empty figure why it is empty."""
    axes.text(0.5, 0.5, f"{what}: not run", ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()
