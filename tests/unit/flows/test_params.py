"""Laying recipes and single values over params.yaml."""

import pytest

from agentic_vlm.errors import ParamsError
from agentic_vlm.params import load_params
from flows.params import list_recipes, main, parse_override, read_recipe


def test_a_recipe_is_laid_over_the_file_and_the_rest_stays(project, capsys):
    before = load_params(project / "params.yaml")
    assert main(["tiny", "train_rl.num_steps=2", "--out", str(project / "params.yaml")]) == 0
    after = load_params(project / "params.yaml")
    assert after.ingest.sources[0].num_train.total == 12
    assert after.train_rl.num_steps == 2
    assert after.curate == before.curate


def test_comments_of_the_file_survive_a_recipe(project):
    path = project / "params.yaml"
    assert main(["tiny", "--out", str(path)]) == 0
    assert "# One section per stage, in the order of the flow." in path.read_text()


@pytest.mark.parametrize("recipe", list_recipes())
def test_every_recipe_can_be_applied_and_read_again(project, recipe):
    path = project / "params.yaml"
    assert main([recipe, "--out", str(path)]) == 0
    load_params(path)


def test_applying_a_recipe_twice_gives_the_same_file(project):
    path = project / "params.yaml"
    main(["qwen25vl_7b_paper", "--out", str(path)])
    once = path.read_bytes()
    main(["qwen25vl_7b_paper", "--out", str(path)])
    assert path.read_bytes() == once


def test_a_wrong_value_is_refused_and_nothing_is_written(project, capsys):
    path = project / "params.yaml"
    before = path.read_bytes()
    assert main(["tiny", "train_rl.num_stpes=2", "--out", str(path)]) == 1
    assert path.read_bytes() == before
    assert "train_rl.num_stpes" in capsys.readouterr().err


def test_an_unknown_recipe_is_answered_with_the_nearest_name():
    with pytest.raises(ParamsError) as caught:
        read_recipe("tinny")
    names = ", ".join(list_recipes())
    assert str(caught.value) == (
        "tinny: no such recipe\n"
        f"  fix: did you mean 'tiny'? there are {names}; or give the path of a YAML file"
    )


def test_a_file_can_be_a_recipe(project, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("seed: 5\n")
    assert main([str(overlay), "--out", str(project / "params.yaml")]) == 0
    assert load_params(project / "params.yaml").seed == 5


@pytest.mark.parametrize(
    ("text", "overlay"),
    [
        ("seed=1", {"seed": 1}),
        ("train_sft.learning_rate=1e-5", {"train_sft": {"learning_rate": 1e-5}}),
        ("agent.tools=[python]", {"agent": {"tools": ["python"]}}),
        ("grading.judge_model=a=b", {"grading": {"judge_model": "a=b"}}),
    ],
)
def test_an_override_is_a_path_and_a_yaml_value(text, overlay):
    assert parse_override(text) == overlay


@pytest.mark.parametrize("text", ["seed", "=1", "train_rl.=2", "seed=[1"])
def test_an_override_without_path_or_value_is_refused(text):
    with pytest.raises(ParamsError):
        parse_override(text)


def test_the_paper_recipe_holds_the_numbers_of_the_paper(project):
    path = project / "params.yaml"
    main(["qwen25vl_7b_paper", "--out", str(path)])
    params = load_params(path)
    assert params.train_rl.prompts_per_step * params.train_rl.group_size == 4096
    assert (params.train_rl.clip_low, params.train_rl.clip_high) == (0.2, 0.3)
    assert params.train_rl.learning_rate == 1e-6
    assert params.train_rl.kl == 0
    assert (params.train_sft.batch_size, params.train_sft.learning_rate) == (128, 1e-5)
    assert (params.probe.num_attempts, params.allocate.max_direct_successes) == (8, 2)
    assert params.allocate.easy_share == 0
    assert params.agent.max_turns == 9
