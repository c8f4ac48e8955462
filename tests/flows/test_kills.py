"""Nothing outlives what started it; the next run resumes, unless the params have changed."""

import signal

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_a_stage_ends_with_its_dvc_and_a_new_run_resumes(steps_project, number):
    steps_project.hold()
    dvc = steps_project.start("-m", "dvc", "repro")
    steps_project.wait_for_stage()
    dvc.send_signal(number)
    dvc.wait()
    steps_project.wait_until_empty()
    steps_project.release()
    steps_project.dvc("repro")
    assert steps_project.starts() == [0, 1]
