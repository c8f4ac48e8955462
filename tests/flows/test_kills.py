"""Nothing outlives what started it; the next run resumes, unless the params have changed."""

import os
import signal

import pytest

SIGNALS = (signal.SIGTERM, signal.SIGKILL)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
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


def test_a_stage_of_a_killed_flow_can_be_run_again_at_once(steps_project):
    """The part of a flow that runs a stage, without Prefect around it."""
    steps_project.hold()
    code = "from pathlib import Path; from flows.repro import reproduce_stage; "
    code += "reproduce_stage('curate', Path(), on_line=print)"
    steps_project.dvc("repro", "first")
    flow = steps_project.start("-c", code)
    steps_project.wait_for_stage()
    flow.kill()
    flow.wait()
    steps_project.wait_until_empty()
    steps_project.release()
    steps_project.dvc("repro")
    assert steps_project.starts() == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
def test_a_flow_takes_its_stages_along_and_changed_params_start_afresh(served_project, number):
    served_project.hold()
    flow = served_project.start("-m", "flows.reproduce", "--root", str(served_project.root))
    served_project.wait_for_stage()
    flow.send_signal(number)
    flow.wait()
    served_project.wait_until_empty()
    served_project.release()
    served_project.change_params("ngram: 13", "ngram: 12")
    served_project.dvc("repro")
    assert served_project.starts() == [0, 0]


@pytest.mark.slow
def test_a_stage_that_dies_fails_its_flow_and_leaves_nothing(served_project):
    served_project.hold()
    flow = served_project.start("-m", "flows.reproduce", "--root", str(served_project.root))
    os.kill(served_project.wait_for_stage(), signal.SIGKILL)
    assert flow.wait() == 1
    assert served_project.alive() == {}
