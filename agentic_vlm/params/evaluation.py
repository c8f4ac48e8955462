"""Sections of the stages that score and report."""

from typing import Annotated, Literal

from pydantic import Field

from agentic_vlm.params.base import Section
from agentic_vlm.params.data import SourceName, Temperature
from agentic_vlm.params.parts import PositiveInt

Mode = Literal["direct", "think", "agent"]
Control = Literal[
    "none",
    "blank_crop",
    "random_crop",
    "broken",
    "noisy",
    "hostile",
    "renamed",
    "redescribed",
    "missing",
    "unseen",
]


def _pocket_modes() -> dict[str, tuple[Mode, ...]]:
    return {"base": ("direct", "agent"), "sft": ("agent",), "rl": ("agent",)}


class EvaluateParams(Section):
    """Stage evaluate: checkpoint x suite."""

    suites: tuple[SourceName, ...] = Field(default=("pocket",), min_length=1)
    """Held-out suites, as named by the sources of `ingest`."""
    rules: Literal["strict", "official", "paper"] = "official"
    """Whose rules grade published suites: ours, their authors', or those of the evaluation that was
    released with the paper, with its defects. The pocket suite has one rule only. Paper: paper."""
    temperature: Temperature = 0.0
    """Sampling temperature; 0 is greedy. Release: 0."""
    modes: dict[str, tuple[Mode, ...]] = Field(default_factory=_pocket_modes)
    """Per model, one or several: the answer alone, reasoning and then the answer, with tools.
    Release: non-think, think, agent; the paper's own rows: agent."""
    control: Control = "none"
    """What is done to the tools: pictures of a cell blank or of another region, every call broken,
    noise or orders among the hits, search tools under other names, otherwise described, or missing,
    or a tool that no training data has.
    For control runs; scores of training runs need `none`. Ours."""
    num_bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Resamples for the 95 % intervals. Ours."""


class ReportParams(Section):
    """Stage report: tables and figures."""

    num_examples: PositiveInt = 12
    """Trajectories that the report prints in full."""
