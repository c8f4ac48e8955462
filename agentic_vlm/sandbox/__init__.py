"""Who runs model-written code.

This package is imported by the fork server too, so it stays light: `build` imports what it needs.
"""

from typing import TYPE_CHECKING, assert_never

from agentic_vlm.sandbox.base import CellResult, CellStatus, Sandbox, Session

if TYPE_CHECKING:
    from agentic_vlm.params.parts import SandboxParams

__all__ = ["CellResult", "CellStatus", "Sandbox", "Session", "build"]


def build(params: "SandboxParams") -> Sandbox:
    """Return the sandbox that `params.type` names; no process starts before the first `open`."""
    match params.type:
        case "process":
            from agentic_vlm.sandbox.process import ProcessSandbox

            return ProcessSandbox(params)
        case "daemon" | "jupyter_gateway" | "sandbox_fusion":
            from agentic_vlm.sandbox.elsewhere import build_remote

            return build_remote(params)
        case "fake":
            from agentic_vlm.sandbox.fake import FakeSandbox

            return FakeSandbox()
        case _:
            assert_never(params.type)
