"""A project with twelve samples and a base model of two narrow layers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentic_vlm.params import load_params
from flows.params import main as apply_recipe

from .whole_run import RunStage, run_one


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save an untrained model of two layers, once."""
    from agentic_vlm.training.checkpoint import save_checkpoint
    from agentic_vlm.world.base_model import build_model, build_processor

    vision = load_params(Path(__file__).parents[2] / "params.yaml").vision
    processor = build_processor(min_pixels=vision.min_pixels, max_pixels=vision.max_pixels)
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    folder = tmp_path_factory.mktemp("tiny") / "base"
    save_checkpoint(folder, model, processor, stage="build_base", parent="", step=0, seed=0)
    return folder


@pytest.fixture(scope="session")
def make_tiny_project(tiny_base: Path) -> Callable[..., Path]:
    """Give a builder of project folders with the recipe `tiny` and further overrides."""
    source = Path(__file__).parents[2] / "params.yaml"

    def make(root: Path, *overrides: str) -> Path:
        shutil.copytree(tiny_base, root / "models" / "base")
        shutil.copy(source, root / "params.yaml")
        assert apply_recipe(["tiny", *overrides, "--out", str(root / "params.yaml")]) == 0
        return root

    return make


@pytest.fixture(scope="session")
def run_stage() -> RunStage:
    """Give a function that runs one stage in this process, in a given project."""
    return run_one
