"""Engines on other machines, by what params.yaml and the environment name."""

import os

from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox.base import Sandbox
from agentic_vlm.sandbox.foreign import PngDecoder
from agentic_vlm.sandbox.fusion import FusionSandbox
from agentic_vlm.sandbox.gateway import GatewaySandbox
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.process import ProcessSandbox
from agentic_vlm.sandbox.remote import RemoteSandbox


def build_remote(params: SandboxParams) -> Sandbox:
    """Return the client of a sandbox elsewhere; addresses and tokens come from the environment.

    Raises:
        SandboxUnavailable: the environment names no address.
    """
    limits = Limits.from_params(params)
    if params.type == "daemon":
        urls = os.environ.get("AGENTIC_SANDBOX_URLS", "").split(",")
        return RemoteSandbox(
            [url.strip() for url in urls if url.strip()],
            limits,
            token=os.environ.get("AGENTIC_SANDBOX_TOKEN", ""),
            max_running_cells=params.max_running_cells,
        )
    decoder = PngDecoder(ProcessSandbox(params))
    if params.type == "jupyter_gateway":
        return GatewaySandbox(
            os.environ.get("AGENTIC_JUPYTER_URL", ""),
            limits,
            decoder,
            token=os.environ.get("AGENTIC_JUPYTER_TOKEN", ""),
            max_running_cells=params.max_running_cells,
        )
    return FusionSandbox(
        os.environ.get("AGENTIC_FUSION_URL", ""),
        limits,
        decoder,
        max_running_cells=params.max_running_cells,
    )
