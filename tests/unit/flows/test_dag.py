"""The graph as DVC knows it, read from a project of three stages."""

import subprocess
import sys
from pathlib import Path

import pytest

from agentic_vlm.errors import ParamsError
from flows.dag import is_up_to_date, load_nodes

PIPELINE = """
stages:
  last:
    cmd: cp middle.txt last.txt
    deps: [middle.txt]
    outs: [last.txt]
  middle:
    desc: Doubles the text
    meta: {slots: [gpu], retries: 2}
    cmd: cat first-a.txt first-b.txt > middle.txt
    deps: [first-a.txt, first-b.txt]
    outs: [middle.txt]
    metrics: [middle.json: {cache: false}]
  first:
    matrix: {part: [a, b]}
    cmd: echo ${item.part} > first-${item.part}.txt
    outs: ["first-${item.part}.txt"]
"""


@pytest.fixture
def dvc_project(tmp_path: Path) -> Path:
    run_dvc(tmp_path, "init", "--no-scm", "-q")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    return tmp_path


def run_dvc(root: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True, capture_output=True)


def test_stages_come_after_what_they_need(dvc_project):
    nodes = load_nodes(dvc_project)
    names = [node.name for node in nodes]
    assert sorted(names) == ["first@a", "first@b", "last", "middle"]
    for node in nodes:
        assert all(names.index(one) < names.index(node.name) for one in node.upstream)


def test_a_node_carries_what_the_flow_needs(dvc_project):
    (middle,) = (node for node in load_nodes(dvc_project) if node.name == "middle")
    assert middle.upstream == ("first@a", "first@b")
    assert (middle.slots, middle.retries) == (("gpu",), 2)
    assert middle.metrics == ("middle.json",)
    assert middle.desc == "Doubles the text"


def test_a_target_brings_what_it_needs_and_nothing_else(dvc_project):
    names = {node.name for node in load_nodes(dvc_project, targets=["middle"])}
    assert names == {"first@a", "first@b", "middle"}


def test_an_unknown_target_is_named(dvc_project):
    with pytest.raises(ParamsError, match="no_such_stage"):
        load_nodes(dvc_project, targets=["no_such_stage"])


def test_a_stage_is_up_to_date_once_dvc_has_run_it(dvc_project):
    assert not is_up_to_date(dvc_project, "first@a")
    run_dvc(dvc_project, "repro", "--single-item", "first@a")
    assert is_up_to_date(dvc_project, "first@a")
    assert not is_up_to_date(dvc_project, "first@b")


def test_the_stages_of_this_project_are_those_of_dvc(pytestconfig):
    nodes = load_nodes(pytestconfig.rootpath)
    assert {node.name.split("@")[0] for node in nodes} == {
        *("build_base", "ingest", "curate", "probe", "allocate", "synthesize", "select_sft"),
        *("train_sft", "train_rl", "evaluate", "index", "report"),
    }
