"""How DVC starts the stages."""

from pathlib import Path

import pytest

from agentic_vlm.params import read_yaml

ROOT = Path(__file__).parents[2]
COMMANDS = {name: stage["cmd"] for name, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_shell_stays_between_dvc_and_a_stage(name):
    # dash, the /bin/sh of Debian, waits for its command as a process of its own: the stage would
    # be tied to the shell, which does not end with DVC.
    assert COMMANDS[name].startswith(f"exec python -m stages.{name}")


def test_stages_share_no_slot_that_does_not_exist():
    slots = {
        slot
        for stage in read_yaml(ROOT / "dvc.yaml")["stages"].values()
        for slot in stage.get("meta", {}).get("slots", ())
    }
    assert slots <= {"cpu", "gpu", "api", "net"}
