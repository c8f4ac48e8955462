"""The flow and `dvc repro` tell one story, whichever comes first."""

import pytest
import requests

PIPELINE = """
stages:
  first:
    matrix: {part: [a, b]}
    meta: {slots: [cpu]}
    cmd: echo ${item.part} > first-${item.part}.txt
    outs: ["first-${item.part}.txt"]
  middle:
    cmd: cat first-a.txt first-b.txt > middle.txt
    deps: [first-a.txt, first-b.txt]
    outs: [middle.txt]
  broken:
    cmd: echo PROGRESS 0.50 && echo gone wrong && exit 3
    deps: [first-a.txt]
    outs: [broken.txt]
  scored:
    cmd: echo '{"accuracy":1}' > scored.json
    metrics: [scored.json]
"""
UP_TO_DATE = "Data and pipelines are up to date."


def pages_of(project):
    """Return what the server shows, by the keys of its artifacts."""
    address = project.environment["PREFECT_API_URL"]
    shown = requests.post(f"{address}/artifacts/latest/filter", json={}, timeout=600).json()
    return {page["key"]: page["data"] for page in shown}


@pytest.mark.slow
def test_without_a_server_the_flow_runs_what_changed_and_dvc_has_nothing_left_to_do(steps_project):
    assert steps_project.flow() == ["Completed", "Completed"]
    assert UP_TO_DATE in steps_project.dvc("repro")


@pytest.mark.slow
def test_what_dvc_has_run_is_cached_and_what_it_ran_before_is_restored(served_project):
    served_project.dvc("repro")
    assert served_project.flow() == ["Cached", "Cached"]
    served_project.change_params("ngram: 13", "ngram: 12")
    served_project.dvc("repro")
    served_project.change_params("ngram: 12", "ngram: 13")
    assert served_project.flow() == ["Cached", "Restored"]
    assert UP_TO_DATE in served_project.dvc("repro")


@pytest.mark.slow
def test_a_failure_stops_only_what_needs_it_and_the_interface_shows_how_far_it_came(served_project):
    (served_project.root / "dvc.yaml").write_text(PIPELINE)
    served_project.dvc("repro", "scored")
    number = len(served_project.started)
    flow = served_project.start("-m", "flows.reproduce", "--root", str(served_project.root))
    assert flow.wait() == 1
    said = served_project.output_of(number).read_text()
    assert "not completed: broken\n" in said
    assert "gone wrong" in said
    assert (served_project.root / "middle.txt").read_text() == "a\nb\n"
    pages = pages_of(served_project)
    assert pages["progress-broken"] == 50.0
    assert "| broken | Failed |" in pages["summary"]
    assert "| middle | Completed |" in pages["summary"]
    assert "| scored | Cached | unknown | [metrics](../key/metrics-scored) |" in pages["summary"]
    assert "accuracy" in pages["metrics-scored"]


@pytest.mark.slow
def test_a_second_flow_waits_for_the_first_and_says_so(served_project):
    served_project.hold()
    words = ("-m", "flows.reproduce", "--root", str(served_project.root))
    number = len(served_project.started)
    first = served_project.start(*words)
    served_project.wait_for_stage()
    second = served_project.start(*words)
    served_project.says(number + 1, f"another flow is at work in {served_project.root} (process")
    served_project.release()
    first.kill()
    assert second.wait() == 0, served_project.output_of(number + 1).read_text()
    assert served_project.starts() == [0, 1]
    assert served_project.alive() == {}


@pytest.mark.slow
def test_eight_stages_at_once_lose_nothing(steps_project):
    (steps_project.root / "dvc.yaml").write_text(
        "stages:\n  part:\n    matrix: {n: [0, 1, 2, 3, 4, 5, 6, 7]}\n"
        "    cmd: echo ${item.n} > part-${item.n}.txt\n"
        "    deps: [given.txt]\n    outs: ['part-${item.n}.txt']\n"
    )
    words = ("-m", "dvc", "--wait-for-lock", "repro", "--single-item")
    number = len(steps_project.started)
    for one in [steps_project.start(*words, f"part@{n}") for n in range(8)]:
        assert one.wait() == 0, [steps_project.output_of(number + n).read_text() for n in range(8)]
    lock = (steps_project.root / "dvc.lock").read_text()
    assert [n for n in range(8) if f"part@{n}:" not in lock] == []
    assert UP_TO_DATE in steps_project.dvc("repro")
