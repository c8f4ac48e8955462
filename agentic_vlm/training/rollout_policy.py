"""Who samples the rollouts of RL: the model itself, vLLM beside it, or vLLM servers.

There is an engine, or a server, for each process that trains. Where the servers stand is in the
environment: AGENTIC_ROLLOUT_URLS (one per process, separated by commas), AGENTIC_POLICY_KEY,
AGENTIC_POLICY_PATIENCE_S, and AGENTIC_ROLLOUT_WEIGHTS, the folder in which they find the weights of
each step; without it, a folder beside the trainer's checkpoints.
"""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import PartialState

from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.backends.served import KEY_VARIABLE, patience_s
from agentic_vlm.backends.vllm_engine import open_colocated
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import Params
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.ranks import count_ranks
from agentic_vlm.training.weights import WeightPush, iter_weights

URLS_VARIABLE = "AGENTIC_ROLLOUT_URLS"
"""Variable with the addresses of the servers, such as http://127.0.0.1:8000."""
WEIGHTS_VARIABLE = "AGENTIC_ROLLOUT_WEIGHTS"
"""Variable with a folder that trainer and servers see at the same absolute path."""

RolloutPolicy = InProcessPolicy | VLLMPolicy | ColocatedPolicy


class Opened(NamedTuple):
    """A policy, and what it must be told of the training."""

    policy: RolloutPolicy
    on_weights: Callable[[], None]
    """Called before sampling, whenever the weights may have changed."""
    on_sampled: Callable[[], None]
    """Called when nothing is being sampled, before anything else is computed."""


def open_rollout_policy(
    params: Params,
    model: Any,
    processor: Any,
    *,
    policy_id: str,
    checkpoint: Path,
    scratch: Path,
    loop: LoopThread,
) -> Opened:
    """Return the policy that `model.policy` names.

    Where `train_rl.method` is `rejection`, it samples with the weights that `model` has now.

    Args:
        params: `model.policy` and the limits of the loop.
        model: the policy in training.
        processor: its processor.
        policy_id: name in trajectories.
        checkpoint: folder from which an engine of its own is opened.
        scratch: folder for weights where the environment names none.
        loop: runs the episodes.

    Raises:
        InfrastructureError: no server is named, or vLLM is not installed.
        ParamsError: there is not one server per process.
    """
    is_fixed = params.train_rl.method == "rejection"
    if params.model.policy == "vllm":
        return _open_served(model, processor, policy_id, scratch, loop, is_fixed=is_fixed)
    if params.model.policy == "vllm_colocated":
        colocated = open_colocated(
            params, checkpoint, processor, policy_id=policy_id, num_processes=count_ranks()
        )
        return follow_weights(colocated, model, is_fixed=is_fixed)
    policy = InProcessPolicy(
        copy.deepcopy(model).requires_grad_(requires_grad=False) if is_fixed else model,
        processor,
        policy_id=policy_id,
        max_batch=params.agent.max_concurrent,
        is_deterministic=params.agent.deterministic,
        keeps_turns=params.model.keeps_turns,
    )
    return Opened(policy, _do_nothing if is_fixed else policy.sampler.forget, _do_nothing)


def follow_weights(policy: ColocatedPolicy, model: Any, *, is_fixed: bool) -> Opened:
    """Return a colocated policy whose weights follow those of `model`, and that rests in between.

    Args:
        policy: has an engine of its own, awake.
        model: the policy in training; adapters are merged on the way, shards gathered one by one.
        is_fixed: it keeps the weights that `model` has now.
    """

    def hand_over() -> None:
        policy.load(iter_weights(model))

    if is_fixed:
        hand_over()
    policy.rest()
    return Opened(policy, _do_nothing if is_fixed else hand_over, policy.rest)


def _open_served(
    model: Any,
    processor: Any,
    policy_id: str,
    scratch: Path,
    loop: LoopThread,
    *,
    is_fixed: bool,
) -> Opened:
    server = VLLMServer(_own_url(), key=os.environ.get(KEY_VARIABLE, ""), patience_s=patience_s())
    served = VLLMPolicy(server, processor, policy_id=policy_id)
    folder = Path(os.environ.get(WEIGHTS_VARIABLE) or scratch / "weights")
    push = WeightPush(model, folder, lambda path: loop.run(served.load_weights(path)))
    if is_fixed:
        push()
        return Opened(served, _do_nothing, _do_nothing)
    return Opened(served, push, _do_nothing)


def _do_nothing() -> None:
    """Stand where a policy need not be told."""


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
