"""Estimates follow their formulas; every recipe can be planned."""

from pathlib import Path

import pytest

from agentic_vlm.errors import ParamsError
from agentic_vlm.params import Params, merge_params, parse_params, read_yaml
from agentic_vlm.training.__main__ import main
from agentic_vlm.training.plan import CARDS, Assumptions, plan

_ROOT = Path(__file__).parents[3]
_RECIPES = sorted((_ROOT / "flows" / "recipes").glob("*.yaml"))


def recipe(name: str, **overlay: object) -> Params:
    path = _ROOT / "flows" / "recipes" / f"{name}.yaml"
    merged = merge_params(read_yaml(_ROOT / "params.yaml"), read_yaml(path))
    return parse_params(merge_params(merged, overlay), where=name)


@pytest.mark.parametrize("path", _RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_planned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", str(path), "--params", str(_ROOT / "params.yaml"), "--cards", "8"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "cold start" in shown
    assert "assumed, not measured" in shown


def test_twice_the_cards_take_half_the_hours() -> None:
    params = recipe("qwen25vl_7b_8gpu")
    eight, sixteen = (plan(params, card=CARDS["h100"], num_cards=n) for n in (8, 16))
    assert eight.sft.hours == pytest.approx(2 * sixteen.sft.hours)
    assert eight.rl.hours == pytest.approx(2 * sixteen.rl.hours)
    assert eight.sft.dollars == pytest.approx(sixteen.sft.dollars)


def test_a_known_case_by_hand() -> None:
    """1,000 steps x 16,384 tokens of a 7.62 B model at 40 % of 989 TFLOPS, attention added."""
    params = recipe("qwen25vl_7b_8gpu", train_sft={"num_steps": 1000, "batch_tokens": 16384})
    found = plan(params, card=CARDS["h100"], num_cards=8, given=Assumptions(sft_tokens=4000))
    work = 6 * 7.62e9 + 6 * 28 * 3584 * 4000
    assert found.sft.hours == pytest.approx(1000 * 16384 * work / (0.4 * 989e12 * 8) / 3600)


def test_the_whole_7b_model_does_not_fit_one_card_and_lora_does() -> None:
    whole = recipe("qwen25vl_7b_8gpu")
    lora = recipe("qwen25vl_7b_8gpu", train_sft={"lora_rank": 64}, train_rl={"lora_rank": 64})
    assert not plan(whole, card=CARDS["h100"], num_cards=1).sft.fits
    assert plan(lora, card=CARDS["h100"], num_cards=1).sft.fits


@pytest.mark.parametrize(
    ("name", "cards"), [("qwen25vl_7b_8gpu", 8), ("qwen25vl_3b_1gpu", 1), ("qwen3vl_4b_1gpu", 1)]
)
def test_recipes_fit_the_cards_they_are_named_for(name: str, cards: int) -> None:
    found = plan(recipe(name), card=CARDS["h100"], num_cards=cards)
    assert found.sft.fits
    assert found.rl.fits


def test_a_colocated_engine_rests_while_the_model_learns() -> None:
    """LoRA of 3B on one card: weights 2 x, states of the adapters, and either passes or engine."""
    beside, served = (
        plan(recipe("qwen25vl_3b_1gpu", model={"policy": name}), card=CARDS["h100"], num_cards=1)
        for name in ("vllm_colocated", "vllm")
    )
    weights = 2 * 3.76e9 / 2**30
    assert beside.rl.memory_gib < served.rl.memory_gib
    assert beside.rl.memory_gib > 2 * weights
    note = next(one for one in beside.notes if "AGENTIC_ENGINE_MEMORY" in one)
    # 7.0 GiB of weights, 64 rows of 4,150 tokens at 36,864 bytes, and 4 GiB, of 80.
    assert "at least 0.25 while" in note
    assert "7.0 GiB of host memory" in note
    assert not any("AGENTIC_ENGINE_MEMORY" in one for one in served.notes)


@pytest.mark.parametrize("name", ["qwen25vl_7b_8gpu", "qwen25vl_3b_1gpu", "qwen3vl_4b_1gpu"])
def test_recipes_for_cards_of_one_machine_sample_where_they_train(name: str) -> None:
    params = recipe(name)
    assert params.model.policy == "vllm_colocated"
    assert params.train_rl.keep_rollouts, "an engine does not repeat its samples exactly"
    assert not params.agent.deterministic


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ParamsError, match="shape of this model is not known"):
        plan(recipe("tiny", model={"base": "a/b"}), card=CARDS["h100"], num_cards=1)
    assert main(["plan", "no_such", "--params", str(_ROOT / "params.yaml")]) == 1
    assert "no_such" in capsys.readouterr().err
