"""What `make ui` starts: a run begun and cancelled from the interface, ended by Ctrl-C."""

import shutil
import signal

import pytest
import requests

from .conftest import ROOT, free_port, wait_until

PARTS = ("flows.ui", "prefect server", "prefect worker", "tether.py")
"""What goes on when a run has ended."""


@pytest.mark.slow
def test_a_run_that_is_cancelled_in_the_interface_leaves_nothing_and_is_resumed(steps_project):
    root = steps_project.root
    (root / "flows").symlink_to(ROOT / "flows")
    shutil.copy(ROOT / "prefect.yaml", root)
    steps_project.environment["PREFECT_HOME"] = str(root / ".scratch" / "prefect")
    # How often the worker looks for runs and for cancellations.
    steps_project.environment["PREFECT_WORKER_QUERY_SECONDS"] = "1"
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    steps_project.hold()
    interface = steps_project.start("-m", "flows.ui", "--port", str(port), "--root", str(root))
    steps_project.says(0, "Ctrl-C stops it")
    here = requests.get(f"{address}/deployments/name/pipeline/here", timeout=600).json()
    run = requests.post(
        f"{address}/deployments/{here['id']}/create_flow_run", json={}, timeout=600
    ).json()
    stage = steps_project.wait_for_stage()
    assert "steps.py" in steps_project.alive()[stage]
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    requests.post(f"{address}/flow_runs/{run['id']}/set_state", json=cancelling, timeout=600)

    def of_runs() -> list[str]:
        commands = steps_project.alive().values()
        return [command for command in commands if not any(part in command for part in PARTS)]

    def state() -> str:
        return requests.get(f"{address}/flow_runs/{run['id']}", timeout=600).json()["state_type"]

    wait_until(lambda: state() == "CANCELLED", f"the run is not cancelled but {state()}")
    wait_until(lambda: not of_runs(), f"the run left processes behind: {of_runs()}")
    interface.send_signal(signal.SIGINT)
    interface.wait()
    steps_project.wait_until_empty()
    steps_project.release()
    steps_project.dvc("repro")
    assert steps_project.starts() == [0, 1]
