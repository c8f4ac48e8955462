"""params.yaml as types: every fault at once, in the user's words."""

import pickle
from pathlib import Path

import pytest

from agentic_vlm.errors import ParamsError
from agentic_vlm.params import Params, load_params, merge_params, parse_params, read_yaml

ROOT = Path(__file__).parents[3]


@pytest.fixture
def raw() -> dict:
    return read_yaml(ROOT / "params.yaml")


def test_the_committed_file_loads():
    assert isinstance(load_params(ROOT / "params.yaml"), Params)


def test_all_faults_are_told_at_once_with_a_guess_for_misspelt_keys(raw):
    raw["curate"]["min_side_px"] = 14
    raw["train_rl"]["grop_size"] = raw["train_rl"].pop("group_size")
    with pytest.raises(ParamsError) as caught:
        parse_params(raw, where="params.yaml")
    assert str(caught.value) == (
        "params.yaml has 3 fault(s):\n"
        "  curate.min_side_px = 14: input should be greater than or equal to 28\n"
        "  train_rl.group_size: missing\n"
        "  train_rl.grop_size: unknown key; did you mean 'group_size'?"
    )


def test_faults_survive_pickling(raw):
    raw["seed"] = -1
    with pytest.raises(ParamsError) as caught:
        parse_params(raw, where="params.yaml")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_fault_inside_a_source_names_its_place(raw):
    raw["ingest"]["sources"][0]["num_entities"] = 3
    with pytest.raises(ParamsError, match=r"ingest\.sources\[0\]\.num_entities = 3: ") as caught:
        parse_params(raw, where="params.yaml")
    assert caught.value.where == "params.yaml has 1 fault(s):"


@pytest.mark.parametrize("value", ["5", True, 5.5])
def test_a_count_takes_whole_numbers_only(raw, value):
    raw["probe"]["num_attempts"] = value
    with pytest.raises(ParamsError, match=r"probe\.num_attempts"):
        parse_params(raw, where="params.yaml")


def test_a_key_that_has_a_default_in_code_must_still_be_written_out(raw):
    del raw["probe"]["stop_early"]
    with pytest.raises(ParamsError, match=r"probe\.stop_early: missing"):
        parse_params(raw, where="params.yaml")


def test_another_teacher_needs_its_own_keys(raw):
    raw["synthesize"]["teacher"] = {"type": "openai", "mistake_rate": 0.1}
    with pytest.raises(ParamsError) as caught:
        parse_params(raw, where="params.yaml")
    assert "synthesize.teacher.model: missing" in str(caught.value)
    assert "synthesize.teacher.mistake_rate: unknown key" in str(caught.value)


def test_a_suite_that_no_source_writes_is_a_fault(raw):
    raw["evaluate"]["suites"] = ["pocket", "moon"]
    with pytest.raises(ParamsError, match="no source writes moon"):
        parse_params(raw, where="params.yaml")


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    (tmp_path / "params.yaml").write_text("rate: 1e-3\n")
    assert read_yaml(tmp_path / "params.yaml") == {"rate": 0.001}


def test_a_key_that_is_given_twice_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("seed: 0\nseed: 1\n")
    with pytest.raises(ParamsError, match="duplicate key"):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParamsError, match="no such file"):
        load_params(tmp_path / "params.yaml")


def test_an_overlay_of_another_type_replaces_the_whole_part(raw):
    overlay = {"synthesize": {"teacher": {"type": "openai", "model": "m", "temperature": 1.0}}}
    merged = parse_params(merge_params(raw, overlay), where="overlay")
    assert merged.synthesize.teacher.type == "openai"
    assert merged.synthesize.num_attempts == raw["synthesize"]["num_attempts"]


def test_every_field_says_what_it_means():
    def undocumented(section, path):
        for name, field in section.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from undocumented(inner, f"{path}{name}.")
            elif field.description is None and name != "type":
                yield f"{path}{name}"

    assert list(undocumented(Params, "")) == []
