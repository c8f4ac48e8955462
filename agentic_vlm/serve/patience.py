"""A toolbox that tells the model when a tool is down, and goes on."""

import logging

from agentic_vlm.errors import InfrastructureError
from agentic_vlm.schema import ToolCall
from agentic_vlm.tools.base import ToolResult, refusal
from agentic_vlm.tools.toolbox import Toolbox

logger = logging.getLogger(__name__)


class PatientToolbox(Toolbox):
    """Somebody waits for an answer: an outage is an observation here, and only here.

    In training and evaluation it ends the episode, which is then left out.
    """

    async def run(self, call: ToolCall) -> ToolResult:
        """Carry out a call; an outage is told to the model."""
        try:
            return await super().run(call)
        except InfrastructureError as fault:
            logger.warning("tool %s is down: %s", call.tool, fault.what)
            reason = f"The tool {call.tool} is not available at the moment; go on without it"
            return refusal(reason, error_class=type(fault).__name__)
