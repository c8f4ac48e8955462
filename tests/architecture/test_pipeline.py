"""One word in four places: DVC stage, module, section of params.yaml, row of the map."""

import importlib
from pathlib import Path

import grimp
import pytest

from agentic_vlm.params import SHARED_SECTIONS, Params, read_yaml
from agentic_vlm.stage import Stage
from stages import STAGES

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "dvc.yaml"
NO_SECTION = {"index"}
"""Stages without anything to set."""

# A change of the log or of the runner must not retrain a model.
PLUMBING = {"errors", "log", "params", "preflight", "progress", "runlog", "stage", "store"}

needs_pipeline = pytest.mark.skipif(not PIPELINE.exists(), reason="dvc.yaml is absent")


@pytest.fixture(scope="module")
def dvc_stages() -> dict:
    return read_yaml(PIPELINE)["stages"]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("agentic_vlm", "stages", cache_dir=None)


def declaration(name: str) -> Stage:
    return importlib.import_module(f"stages.{name}").STAGE


def covers(places: set[str], path: str) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def members_of(dvc_stage: dict) -> list[str]:
    matrix = dvc_stage.get("matrix", {})
    return [str(member) for values in matrix.values() for member in values] or [""]


def deps_of(dvc_stage: dict) -> set[str]:
    members = members_of(dvc_stage)
    found = set()
    for dep in dvc_stage.get("deps", []):
        key = "${item." + next(iter(dvc_stage.get("matrix", {})), "") + "}"
        found |= {dep.replace(key, member).rstrip("/") for member in members}
    return found


@needs_pipeline
def test_dvc_stages_are_the_stages_in_order(dvc_stages):
    assert tuple(dvc_stages) == STAGES


@needs_pipeline
def test_every_stage_has_a_module_and_every_module_a_stage():
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert modules - {"__init__", "__main__"} == set(STAGES)


def test_sections_of_params_are_the_stages():
    sections = set(Params.model_fields) - set(SHARED_SECTIONS)
    assert sections == set(STAGES) - NO_SECTION


@needs_pipeline
@pytest.mark.parametrize("name", STAGES)
def test_a_module_declares_the_stage_that_it_is_named_after(name):
    stage = declaration(name)
    assert stage.name == name
    assert stage.doc.endswith(".")


@needs_pipeline
@pytest.mark.parametrize("name", sorted(set(STAGES) - NO_SECTION))
def test_a_dvc_stage_watches_its_own_section(dvc_stages, name):
    assert name in {str(key).split(".")[0] for key in dvc_stages[name]["params"]}


@needs_pipeline
@pytest.mark.parametrize("name", STAGES)
def test_dvc_watches_what_a_stage_reads(dvc_stages, name):
    deps = deps_of(dvc_stages[name])
    stage = declaration(name)
    reads = {path for member in members_of(dvc_stages[name]) for path in stage.inputs(member)}
    is_missing = sorted(path for path in reads if not covers(deps, path))
    # An input may also be named part by part, below the folder that the declaration names.
    missing = [path for path in is_missing if not any(covers({path}, dep) for dep in deps)]
    assert not missing, f"add to the deps of {name} in dvc.yaml: {missing}"


@needs_pipeline
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_and_its_dvc_stage_have_the_same_matrix(dvc_stages, name):
    matrix = declaration(name).matrix
    assert list(dvc_stages[name].get("matrix", {})) == ([matrix] if matrix else [])


@needs_pipeline
@pytest.mark.parametrize("name", STAGES)
def test_dvc_watches_the_code_that_a_stage_imports(dvc_stages, imports, name):
    if dvc_stages[name].get("frozen"):
        return
    deps = deps_of(dvc_stages[name])
    upstream = imports.find_upstream_modules(f"stages.{name}")
    packages = {module.split(".")[1] for module in upstream if module.startswith("agentic_vlm.")}
    paths = {_path(package) for package in packages - PLUMBING}
    missing = sorted(
        path
        for path in paths
        if not covers(deps, path) and not any(covers({path}, dep) for dep in deps)
    )
    assert not missing, f"add to the deps of {name} in dvc.yaml: {missing}"


def _path(package: str) -> str:
    folder = f"agentic_vlm/{package}"
    return folder if (ROOT / folder).is_dir() else f"{folder}.py"
