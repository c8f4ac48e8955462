"""Who samples the rollouts of RL: this process, or a vLLM server for each process that trains.

Where the servers stand is in the environment: AGENTIC_ROLLOUT_URLS (one per process, separated by
commas), AGENTIC_POLICY_KEY, AGENTIC_POLICY_PATIENCE_S, and AGENTIC_ROLLOUT_WEIGHTS, the folder in
which they find the weights of each step; without it, a folder beside the trainer's checkpoints.
"""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState

from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.served import KEY_VARIABLE, patience_s
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import Params
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.ranks import count_ranks
from agentic_vlm.training.weights import WeightPush

URLS_VARIABLE = "AGENTIC_ROLLOUT_URLS"
"""Variable with the addresses of the servers, such as http://127.0.0.1:8000."""
WEIGHTS_VARIABLE = "AGENTIC_ROLLOUT_WEIGHTS"
"""Variable with a folder that trainer and servers see at the same absolute path."""

RolloutPolicy = InProcessPolicy | VLLMPolicy


def open_rollout_policy(
    params: Params, model: Any, processor: Any, *, policy_id: str, scratch: Path, loop: LoopThread
) -> tuple[RolloutPolicy, Callable[[], None]]:
    """Return the policy, and what is called whenever the weights may have changed.

    Where `train_rl.method` is `rejection`, it samples with the weights that `model` has now.

    Args:
        params: `model.policy` and the limits of the loop.
        model: the policy in training.
        processor: its processor.
        policy_id: name in trajectories.
        scratch: folder for weights where the environment names none.
        loop: runs the episodes.

    Raises:
        InfrastructureError: no server is named.
        ParamsError: there is not one server per process.
    """
    is_fixed = params.train_rl.method == "rejection"
    if params.model.policy != "vllm":
        policy = InProcessPolicy(
            copy.deepcopy(model).requires_grad_(requires_grad=False) if is_fixed else model,
            processor,
            policy_id=policy_id,
            max_batch=params.agent.max_concurrent,
            is_deterministic=params.agent.deterministic,
            keeps_turns=params.model.keeps_turns,
        )
        return policy, _do_nothing if is_fixed else policy.sampler.forget
    server = VLLMServer(_own_url(), key=os.environ.get(KEY_VARIABLE, ""), patience_s=patience_s())
    served = VLLMPolicy(server, processor, policy_id=policy_id)
    folder = Path(os.environ.get(WEIGHTS_VARIABLE) or scratch / "weights")
    push = WeightPush(model, folder, lambda path: loop.run(served.load_weights(path)))
    if is_fixed:
        push()
        return served, _do_nothing
    return served, push


def _do_nothing() -> None:
    """Leave a policy as it is that never changes."""


def _own_url() -> str:
    """Return the address of the server of this process."""
    urls = [url for url in os.environ.get(URLS_VARIABLE, "").split(",") if url.strip()]
    if not urls:
        fix = f"export {URLS_VARIABLE}=http://HOST:PORT, or set model.policy: in_process"
        raise InfrastructureError(URLS_VARIABLE, "model.policy is vllm without an address", fix)
    if len(urls) != count_ranks():
        what = f"{len(urls)} servers for {count_ranks()} processes"
        raise ParamsError(URLS_VARIABLE, what, "name one server per process, separated by commas")
    return urls[int(PartialState().process_index)].strip().removesuffix("/v1")
