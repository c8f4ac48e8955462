"""VLLMEngine: vLLM's `LLM` in this process, one for each process that trains.

Written against vLLM 0.32.0, which is imported when an engine is opened and not before. Its step
loop is driven from here, so that a turn is returned as soon as it is finished and the next request
of its episode joins the running batch.
"""

import importlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agentic_vlm.backends.base import FinishReason
from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.engine import EnginePrompt, Sampled
from agentic_vlm.backends.turns import EngineSampling
from agentic_vlm.backends.vllm_folder import link_with_video_slot
from agentic_vlm.errors import BackendUnavailable, InfrastructureError, ParamsError
from agentic_vlm.params import Params

MEMORY_VARIABLE = "AGENTIC_ENGINE_MEMORY"
"""Variable with the share of the card's memory that an engine takes while it samples; 0.4."""
_SETTINGS = {
    # The engine core in this process: weights are handed over as tensors, not as files.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
# Weights in host memory while asleep. At level 2 they would be dropped, and every further round of
# a step would gather them from all processes again.
_SLEEP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine is opened with."""

    max_context_tokens: int
    """Longest context with what is sampled."""
    max_rows: int
    """Most requests that are sampled at a time."""
    dtype: str
    """Precision of weights, such as bfloat16."""
    memory_share: float
    """Of the memory of the card, for weights, activations and keys and values."""
    num_processes: int = 1
    """That train together, each with an engine."""


def find_vllm() -> Any:
    """Return the module `vllm`.

    Raises:
        InfrastructureError: it is not installed, or does not load here.
    """
    os.environ.update(_SETTINGS)
    try:
        return importlib.import_module("vllm")
    except ImportError as fault:
        raise InfrastructureError(
            "model.policy: vllm_colocated",
            f"vLLM cannot be imported: {fault}",
            "install the extra `gpu` with uv in an environment of its own (docs/training.md), or "
            "set model.policy: in_process",
        ) from fault


class VLLMEngine:
    """See `Engine`."""

    def __init__(self, llm: Any, make_sampling: Any, *, can_sleep: bool) -> None:
        """Keep vLLM's `LLM` and its class `SamplingParams`; `can_sleep`: on cards only."""
        self._llm, self._make_sampling = llm, make_sampling
        self._can_sleep = can_sleep
        self._is_asleep = False
        # Threads begin with the first card, whichever this process was given.
        self._device = torch.cuda.current_device() if can_sleep else None

    @classmethod
    def open(cls, checkpoint: Path, limits: EngineLimits) -> "VLLMEngine":
        """Load a checkpoint folder, awake and with its weights.

        Raises:
            InfrastructureError: vLLM is not installed.
        """
        vllm = find_vllm()
        can_sleep = torch.cuda.is_available()
        with tempfile.TemporaryDirectory(prefix="engine-") as folder:
            # It reads everything now; weights come from the trainer afterwards.
            loaded = link_with_video_slot(checkpoint, Path(folder))
            llm = vllm.LLM(**engine_options(loaded, limits, can_sleep=can_sleep))
        return cls(llm, vllm.SamplingParams, can_sleep=can_sleep)

    def add(self, request_id: str, prompt: EnginePrompt, sampling: EngineSampling) -> None:
        """See `Engine`."""
        (rendered,) = self._llm.renderer.render_cmpl([prompt])
        self._llm.llm_engine.add_request(request_id, rendered, self._make_sampling(**sampling))

    def step(self) -> list[Sampled]:
        """See `Engine`."""
        self._use_device()
        return [_read(one) for one in self._llm.llm_engine.step() if one.finished]

    def abort(self, request_ids: Sequence[str]) -> None:
        """See `Engine`."""
        self._llm.llm_engine.abort_request(list(request_ids))

    def wake(self) -> None:
        """See `Engine`."""
        self._use_device()
        if self._is_asleep:
            self._llm.wake_up()
            self._is_asleep = False

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `Engine`.

        Keys and values get their memory after the new weights are there: handing over needs some.
        """
        self._use_device()
        if self._is_asleep:
            self._llm.wake_up(tags=["weights"])
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if self._is_asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._is_asleep = False
        # Of the old weights: keys and values of prefixes, features of pictures. Pixels are kept
        # nowhere but beside the features, so that both go together.
        if not self._llm.reset_prefix_cache():
            raise BackendUnavailable(
                "colocated engine", "its prefix cache was not reset: requests are running", "report"
            )
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.reset_mm_cache()

    def sleep(self) -> None:
        """See `Engine`."""
        self._use_device()
        if self._can_sleep and not self._is_asleep:
            self._llm.sleep(level=_SLEEP_LEVEL)
            self._is_asleep = True

    def _use_device(self) -> None:
        if self._device is not None:
            torch.cuda.set_device(self._device)

    def close(self) -> None:
        """See `Engine`."""
        self._llm.llm_engine.engine_core.shutdown()


def open_colocated(
    params: Params, checkpoint: Path, processor: Any, *, policy_id: str, num_processes: int = 1
) -> ColocatedPolicy:
    """Return a policy with an engine of this process, awake, with the weights of a checkpoint.

    Args:
        params: precision, and limits of the loop.
        checkpoint: folder with weights and processor.
        processor: the same, loaded.
        policy_id: name in trajectories.
        num_processes: that train together, each with an engine.

    Raises:
        InfrastructureError: vLLM is not installed.
        ParamsError: the share of memory is no number between 0 and 1.
    """
    limits = EngineLimits(
        max_context_tokens=params.agent.max_context_tokens,
        max_rows=params.agent.max_concurrent,
        dtype=params.model.dtype,
        memory_share=memory_share(),
        num_processes=num_processes,
    )
    return ColocatedPolicy(VLLMEngine.open(checkpoint, limits), processor, policy_id=policy_id)


def memory_share() -> float:
    """Return the share of the card's memory that an engine takes.

    Raises:
        ParamsError: the variable holds no number between 0 and 1.
    """
    text = os.environ.get(MEMORY_VARIABLE) or "0.4"
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        fix = "export it anew, such as 0.4"
        raise ParamsError(MEMORY_VARIABLE, f"{text!r} is no number between 0 and 1", fix)
    return share


def engine_options(checkpoint: Path, limits: EngineLimits, *, can_sleep: bool) -> dict[str, Any]:
    """Return the arguments of vLLM's `LLM`."""
    options: dict[str, Any] = {
        "model": str(checkpoint),
        "dtype": limits.dtype,
        "max_model_len": limits.max_context_tokens,
        "max_num_seqs": limits.max_rows,
        "gpu_memory_utilization": limits.memory_share,
        "enable_sleep_mode": can_sleep,
        # Those of the distribution that it samples from: temperature and banned ids included.
        "logprobs_mode": "processed_logprobs",
        # Nothing of the folder may bend the distribution.
        "generation_config": "vllm",
        # The context bounds the number of pictures; without videos none is prepared to measure
        # memory.
        "limit_mm_per_prompt": {"image": limits.max_context_tokens, "video": 0},
        "disable_log_stats": True,
    }
    if limits.num_processes > 1:
        # Each process of the launcher keeps an engine of its own, with the launcher's group.
        options["distributed_executor_backend"] = "external_launcher"
    return options


def _read(output: Any) -> Sampled:
    (choice,) = output.outputs
    ids = [int(token) for token in choice.token_ids]
    try:
        # Beside the sampled token there may be the likeliest ones.
        found = zip(ids, choice.logprobs, strict=True)
        logprobs = [float(one[token].logprob) for token, one in found]
        reason = FinishReason(choice.finish_reason)
    except (KeyError, TypeError, ValueError) as fault:
        raise BackendUnavailable(
            "colocated engine",
            f"request {output.request_id}: {len(ids)} tokens whose log-probabilities or end cannot "
            f"be read: {fault!r}",
            "compare the installed vLLM with docs/decisions/0019-colocated-engine.md",
        ) from fault
    return Sampled(output.request_id, output.prompt_token_ids, ids, logprobs, reason)
