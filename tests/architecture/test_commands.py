"""How DVC and Prefect start the stages."""

import ast
import configparser
from pathlib import Path

import pytest

from agentic_vlm.params import read_yaml

ROOT = Path(__file__).parents[2]
DVC_STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
DEPLOYMENTS = read_yaml(ROOT / "prefect.yaml")["deployments"]


def outputs_of(stage: dict) -> dict[str, dict]:
    """Return the options of each output, metrics file and plot of a DVC stage."""
    entries = [one for key in ("outs", "metrics", "plots") for one in stage.get(key, [])]
    return {
        path: options or {}
        for entry in entries
        for path, options in (entry.items() if isinstance(entry, dict) else [(entry, {})])
    }


@pytest.mark.parametrize("name", DVC_STAGES)
def test_no_shell_stays_between_dvc_and_a_stage(name):
    # dash, the /bin/sh of Debian, waits for its command as a process of its own: the stage would
    # be tied to the shell, which does not end with DVC.
    assert DVC_STAGES[name]["cmd"].startswith(f"exec python -m stages.{name}")


@pytest.mark.parametrize("name", DVC_STAGES)
def test_no_stage_keeps_outputs_of_other_params(name):
    # With `persist` a stage would find, and resume, what it wrote before the params changed.
    assert [path for path, one in outputs_of(DVC_STAGES[name]).items() if "persist" in one] == []


@pytest.mark.parametrize("name", DVC_STAGES)
def test_what_tells_the_flow_how_to_run_a_stage_is_known(name):
    meta = DVC_STAGES[name].get("meta", {})
    assert set(meta) <= {"slots", "retries", "pool"}
    assert set(meta.get("slots", ())) <= {"cpu", "gpu", "api", "net"}


@pytest.mark.parametrize("name", [name for name in DVC_STAGES if "pool" in DVC_STAGES[name]["meta"]])
def test_the_run_cache_can_carry_every_output_of_a_stage_with_a_pool(name):
    uncached = [path for path, one in outputs_of(DVC_STAGES[name]).items() if "cache" in one]
    assert uncached == []


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_a_deployment_names_a_flow_and_parameters_that_exist(deployment):
    path, name = deployment["entrypoint"].split(":")
    tree = ast.parse((ROOT / path).read_text())
    (flow,) = (one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name)
    assert "flow" in ast.unparse(flow.decorator_list[0])
    assert set(deployment["parameters"]) <= {argument.arg for argument in flow.args.args}
    assert {"recipe", "overrides", "targets", "force"} <= set(deployment["parameters"])


def test_schedules_ship_switched_off():
    schedules = [one for deployment in DEPLOYMENTS for one in deployment.get("schedules", [])]
    assert schedules
    assert [one for one in schedules if one["active"]] == []


def test_the_page_of_plots_needs_no_network():
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    page = (ROOT / ".dvc" / config["plots"]["html_template"]).read_text()
    assert "{plot_divs}" in page
    assert "{scripts}" not in page  # DVC would put the addresses of its own scripts there
    assert page.count("<script>") == 3
    assert "<script src" not in page
    assert "<link" not in page.split("<body>")[1]
