"""ToolResult and the shape of a tool."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from agentic_vlm.schema import ObservationStatus, ToolCall
from agentic_vlm.tools.observe import error_text


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave, as the model will see it."""

    text: str
    """The observation; `<image>` where a picture stands, all data neutralised."""
    images: tuple[Image.Image, ...] = ()
    """Pictures in the order of their markers, within the limits of the processor."""
    status: ObservationStatus = ObservationStatus.OK
    """What became of the call."""
    error_class: str = ""
    """Name of the exception or fault; empty where there is none."""
    num_dropped_chars: int = 0
    """Characters of output that the model does not see."""
    latency_s: float = 0.0
    """Wall-clock seconds of the call."""
    cost_usd: float = 0.0
    """What services on the network charge for the call, US dollars."""


class Tool(Protocol):
    """One thing that the model may call, for one episode."""

    @property
    def name(self) -> str:
        """The name that calls use."""
        ...

    async def run(self, call: ToolCall) -> ToolResult:
        """Carry out a call; a fault of the model's making is a result.

        Raises:
            InfrastructureError: the sandbox or the search engine failed.
        """
        ...

    async def close(self) -> None:
        """Release what the tool holds."""
        ...


def refusal(
    reason: str, *, error_class: str, status: ObservationStatus = ObservationStatus.ERROR
) -> ToolResult:
    """Return the result of a call that cannot be carried out as it is written."""
    return ToolResult(error_text(reason), status=status, error_class=error_class)
