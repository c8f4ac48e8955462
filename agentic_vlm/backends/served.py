"""The policy in training behind an OpenAI-compatible server: `model.policy: openai`.

Where it stands is in the environment: AGENTIC_POLICY_URL (for one checkpoint of several,
AGENTIC_POLICY_URL_SFT and the like), AGENTIC_POLICY_KEY, AGENTIC_POLICY_PATIENCE_S.
"""

import os
from pathlib import Path

import openai
from PIL import Image

from agentic_vlm.backends.base import ChatMessage, Request, SamplingParams
from agentic_vlm.backends.openai_http import OpenAIPolicy
from agentic_vlm.backends.patient import PatientPolicy
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import ModelParams
from agentic_vlm.schema import CheckpointCard, Role

URL_VARIABLE = "AGENTIC_POLICY_URL"
"""Variable with the address of the server, such as http://127.0.0.1:8100/v1."""
KEY_VARIABLE = "AGENTIC_POLICY_KEY"
"""Variable with its key; unset for servers that want none."""
PATIENCE_VARIABLE = "AGENTIC_POLICY_PATIENCE_S"
"""Variable with the seconds for which a server that is down is waited for; 1800 where unset."""
_TIMEOUT_S = 660.0


def build_served(params: ModelParams, card: CheckpointCard, *, checkpoint: Path) -> PatientPolicy:
    """Return the policy of a checkpoint that a server holds; nothing is contacted yet.

    The server knows it as `model.base`, or `models/sft` and `models/rl`; a server that holds
    another checkpoint refuses the name, so that none is measured in the place of another. In
    trajectories it is named by the id on its card, wherever it runs.

    Raises:
        InfrastructureError: the address is not set.
        ParamsError: the patience is no positive number.
    """
    own_variable = f"{URL_VARIABLE}_{checkpoint.name.upper()}"
    base_url = os.environ.get(own_variable) or os.environ.get(URL_VARIABLE)
    if not base_url:
        fix = f"export {URL_VARIABLE}=http://HOST:PORT/v1, or set model.policy: in_process"
        raise InfrastructureError(
            URL_VARIABLE, f"model.policy is {params.policy} without an address", fix
        )
    client = openai.AsyncOpenAI(
        base_url=base_url,
        api_key=os.environ.get(KEY_VARIABLE) or "none",
        timeout=_TIMEOUT_S,
        max_retries=0,
    )
    policy = OpenAIPolicy(
        name_at_server(params, checkpoint),
        client=client,
        policy_id=card.checkpoint_id,
        continues_messages=params.continues_turns,
        counts_context=True,
    )
    return PatientPolicy(policy, patience_s=patience_s())


def name_at_server(params: ModelParams, checkpoint: Path) -> str:
    """Return the name under which a server must know a checkpoint folder.

    >>> name_at_server(ModelParams(base="Qwen/Qwen3-VL-4B"), Path("/p/models/base"))
    'Qwen/Qwen3-VL-4B'
    >>> name_at_server(ModelParams(), Path("/p/models/rl"))
    'models/rl'
    """
    return params.base if checkpoint.name == "base" else f"models/{checkpoint.name}"


async def check_sees_pictures(policy: PatientPolicy) -> None:
    """Ask once with a picture and once without, and compare the lengths of the prompts.

    A folder whose processor does not load is served as a text model, which drops pictures and
    answers as if nothing had happened.

    Raises:
        InfrastructureError: the prompt is no longer with a picture.
        BackendUnavailable: the server is lost.
    """
    picture = Image.new("RGB", (56, 56), "red")
    lengths = []
    for parts in ((picture, "Hello"), ("Hello",)):
        request = Request("check", 0, [ChatMessage(Role.USER, parts)], None, [], "")
        completion = await policy.complete(request, SamplingParams(0.0, 1, (), 0))
        lengths.append(completion.num_context_tokens - completion.num_tokens)
    with_picture, without = lengths
    if without > 0 and with_picture <= without:
        raise InfrastructureError(
            f"model server, model {policy.policy_id}",
            f"a prompt has {without} tokens without a picture and {with_picture} with one",
            "serve the checkpoint with its processor (transformers serve: --trust-remote-code)",
        )


def patience_s() -> float:
    """Return how long a server that is down is waited for.

    Raises:
        ParamsError: the variable holds no positive number.
    """
    text = os.environ.get(PATIENCE_VARIABLE) or "1800"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise ParamsError(PATIENCE_VARIABLE, f"{text!r} is no positive number", "export it anew")
    return seconds
