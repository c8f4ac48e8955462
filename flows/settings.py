"""What Prefect, DVC and the stages read from the environment; set before Prefect is imported."""

import os
import sys
from pathlib import Path

ROOT_VARIABLE = "AGENTIC_ROOT"
"""Root of the checkout in which a worker runs its flows."""
WORKER_VARIABLE = "AGENTIC_WORKER_PID"
"""Process that starts flow runs; they end with it."""

_FIXED = {
    # The server that Prefect starts for itself takes up to 20 s on a small machine, which is just
    # its own limit.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLI_PROMPT": "false",
    # Its default, 10 s, is long for a person who has just pressed a button.
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
}


def prepare_environment(root: Path | None = None) -> None:
    """Set what is not set yet: no telemetry, patience at the start, this interpreter for stages.

    Args:
        root: root of the project; Prefect's own files go to its scratch folder. Absent: Prefect is
            not used.
    """
    for name, value in _FIXED.items():
        os.environ.setdefault(name, value)
    # dvc.yaml says `python`.
    folder = str(Path(sys.executable).parent)
    places = os.environ.get("PATH", "").split(os.pathsep)
    if places[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, *places])
    if root is None:
        return
    # Stages write lines that the flow turns into a progress bar of the user interface.
    os.environ.setdefault("AGENTIC_PROGRESS", "lines")
    home = Path(os.environ.setdefault("PREFECT_HOME", str(root / ".scratch" / "prefect")))
    # Prefect's own server does not make the folder of its database, and then never answers.
    home.mkdir(parents=True, exist_ok=True)
