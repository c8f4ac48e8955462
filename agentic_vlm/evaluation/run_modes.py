"""How a run asks: with the answer alone, with reasoning, or with tools."""

from enum import StrEnum

from agentic_vlm.schema import ProbeMode


class RunMode(StrEnum):
    """The modes of params.yaml, of the command line and of every score.

    The evaluation released with the paper calls them non-think, think and agent.
    """

    DIRECT = "direct"
    """The answer and no more; no tools."""
    THINK = "think"
    """Reasoning, then the answer; no tools."""
    AGENT = "agent"
    """With tools."""

    @property
    def probe_mode(self) -> ProbeMode:
        """How the loop runs such an episode: with tools or without."""
        return ProbeMode.AGENT if self is RunMode.AGENT else ProbeMode.DIRECT

    @property
    def thinks(self) -> bool:
        """Whether the prompt without tools asks for reasoning before the answer."""
        return self is RunMode.THINK
