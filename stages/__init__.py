"""The stages in the order of the flow: one module, one DVC stage, one section of params.yaml.

`python -m stages` prints the map, `python -m stages check` says what is missing before an hour is
spent, `python -m stages summary` prints the scores and the seconds of the last run.
"""

import ctypes
import os
import signal
import sys

STAGES = (
    "build_base",
    "ingest",
    "curate",
    "probe",
    "allocate",
    "synthesize",
    "select_sft",
    "train_sft",
    "train_rl",
    "evaluate",
    "index",
    "report",
)

_PR_SET_PDEATHSIG = 1
_TIED = "AGENTIC_STAGE_PID"


def end_with_dvc() -> None:
    """Let the kernel end this process when DVC dies; end at once where that has happened.

    DVC does not pass signals on: without this a killed `dvc repro` leaves its stage running, as a
    second writer beside the next one. What DVC did not start itself is left alone.
    """
    if "DVC_STAGE" not in os.environ or _TIED in os.environ:
        return
    # Processes that the stage starts inherit the environment, but are tied to it by their own code.
    os.environ[_TIED] = str(os.getpid())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # DVC runs its command in its own process group; whoever takes in orphans is in another one.
    if os.getpgid(os.getppid()) != os.getpgid(0):
        sys.exit("the DVC that started this stage is gone")


# On import: a stage module loads libraries for seconds before its first line runs.
end_with_dvc()
