"""What is asked of vLLM: against its signatures where it is installed, else what we send it."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from agentic_vlm.backends.turns import EngineSampling
from agentic_vlm.backends.vllm_engine import EngineLimits, engine_options, find_vllm
from agentic_vlm.backends.vllm_folder import link_with_video_slot, video_slot

_LIMITS = EngineLimits(4096, 64, "bfloat16", 0.4, num_processes=8)


@pytest.fixture
def vllm() -> Any:
    pytest.importorskip("vllm", reason="the extra `gpu` is not installed")
    return find_vllm()


def takes(function: Any, *names: str) -> bool:
    """Tell whether a function has parameters of these names."""
    return set(names) <= set(inspect.signature(function).parameters)


def test_the_methods_of_vllm_that_are_called_take_what_they_are_given(vllm: Any) -> None:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.renderers.base import BaseRenderer
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    options = engine_options(Path("m"), _LIMITS, can_sleep=True)
    known = {*inspect.signature(vllm.LLM.__init__).parameters, *EngineArgs.__dataclass_fields__}
    assert set(options) <= known
    assert set(EngineSampling.__annotations__) <= set(
        inspect.signature(vllm.SamplingParams).parameters
    )
    assert takes(BaseRenderer.render_cmpl, "prompts")
    assert list(inspect.signature(LLMEngine.add_request).parameters)[1:4] == [
        "request_id",
        "prompt",
        "params",
    ]
    assert takes(LLMEngine.abort_request, "request_ids")
    assert takes(vllm.LLM.sleep, "level")
    assert takes(vllm.LLM.wake_up, "tags")
    assert takes(vllm.LLM.collective_rpc, "method", "kwargs")
    assert takes(GPUModelRunner.reload_weights, "weights_iterator")
    for owner, name in [
        (LLMEngine, "step"),
        (LLMEngine, "reset_encoder_cache"),
        (vllm.LLM, "reset_prefix_cache"),
        (vllm.LLM, "reset_mm_cache"),
    ]:
        assert callable(getattr(owner, name))
    fields = set(inspect.signature(vllm.RequestOutput).parameters)
    assert {"request_id", "prompt_token_ids", "outputs", "finished"} <= fields
    fields = set(inspect.signature(vllm.CompletionOutput).parameters)
    assert {"token_ids", "logprobs", "finish_reason"} <= fields


def test_an_engine_samples_from_the_plain_distribution_and_belongs_to_one_process() -> None:
    options = engine_options(Path("m"), _LIMITS, can_sleep=True)
    assert options["logprobs_mode"] == "processed_logprobs"
    assert options["generation_config"] == "vllm"
    assert options["limit_mm_per_prompt"]["video"] == 0
    assert options["distributed_executor_backend"] == "external_launcher"
    alone = engine_options(Path("m"), EngineLimits(4096, 64, "bfloat16", 0.4), can_sleep=False)
    assert "distributed_executor_backend" not in alone
    assert alone["enable_sleep_mode"] is False


def test_a_folder_without_a_video_slot_gets_one_beside_links(tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "folder"
    checkpoint.mkdir()
    folder.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "qwen3_vl"}))
    image = {"patch_size": 14, "merge_size": 2, "size": {"longest_edge": 9}, "resample": 3}
    (checkpoint / "processor_config.json").write_text(json.dumps({"image_processor": image}))
    assert link_with_video_slot(checkpoint, folder) == folder
    assert not (checkpoint / "video_preprocessor_config.json").exists()
    assert json.loads((folder / "video_preprocessor_config.json").read_text()) == {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "patch_size": 14,
        "merge_size": 2,
        "size": {"longest_edge": 9},
    }
    assert (folder / "config.json").read_text() == (checkpoint / "config.json").read_text()
    assert video_slot(folder) is None
    assert link_with_video_slot(folder, tmp_path) == folder
