"""Runtime: everything that episodes share, opened together and closed together."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentic_vlm import sandbox, search
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Policy
from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.params import Params
from agentic_vlm.schema import CheckpointCard
from agentic_vlm.tools.toolbox import Toolkit

if TYPE_CHECKING:
    from agentic_vlm.backends.patient import PatientPolicy


@dataclass(frozen=True, slots=True)
class Runtime:
    """What `run_batch` needs."""

    policy: Policy
    """Who acts."""
    renderer: Renderer | None
    """Makes token ids; absent for policies that take text."""
    kit: Toolkit
    """What the tools of all episodes share."""
    server: "PatientPolicy | None" = None
    """The policy again, where a server samples; attempts then do not depend on each other, so each
    is kept as soon as it is finished."""

    def check_lost(self) -> None:
        """Stop where the server of the policy is lost.

        Raises:
            BackendUnavailable: it is.
        """
        if self.server is not None:
            self.server.check_lost()


@asynccontextmanager
async def open_kit(params: Params, *, corpus: Path) -> AsyncIterator[Toolkit]:
    """Open the sandbox and the search engine, and close them in the end.

    Args:
        params: chooses the implementations and their limits.
        corpus: folder of the encyclopedia and its index.
    """
    box = sandbox.build(params.sandbox)
    provider = search.build(params.search, corpus=corpus)
    try:
        yield Toolkit(
            agent=params.agent,
            vision=params.vision,
            search=params.search,
            sandbox=box,
            provider=provider,
            style=params.agent.observation,
        )
    finally:
        await provider.close()
        await box.close()


@asynccontextmanager
async def open_runtime(
    params: Params, *, checkpoint: Path, corpus: Path, num_kept_prompts: int = 0
) -> AsyncIterator[Runtime]:
    """Open the policy of a checkpoint and the tools, as `model.policy` says.

    Args:
        params: the whole of params.yaml.
        checkpoint: folder with `card.json`; with weights and processor unless a server holds them.
        corpus: folder of the encyclopedia and its index.
        num_kept_prompts: prompts that a policy in this process need not read again in the next
            batch; a server keeps its own.

    Raises:
        ArtifactMissing: the folder holds no checkpoint.
        InfrastructureError: no server is named, it is lost, or it does not see pictures; or vLLM
            is not installed.
    """
    if params.model.policy in ("openai", "vllm") or _has_server(params):
        async with _open_served(params, checkpoint, corpus) as runtime:
            yield runtime
        return
    # torch takes seconds to import, and text backends never need it.
    from agentic_vlm.backends import local

    processor = local.load_processor(checkpoint)
    policy = _open_here(params, checkpoint, processor, num_kept_prompts=num_kept_prompts)
    async with open_kit(params, corpus=corpus) as kit:
        try:
            yield Runtime(policy, Renderer(processor.tokenizer, vision=params.vision), kit)
        finally:
            await policy.close()


def _has_server(params: Params) -> bool:
    """Tell whether a server samples where vLLM would be opened in this process."""
    if params.model.policy != "vllm_colocated":
        return False
    from agentic_vlm.backends.served import URL_VARIABLE

    return bool(os.environ.get(URL_VARIABLE))


def _open_here(
    params: Params, checkpoint: Path, processor: Any, *, num_kept_prompts: int
) -> Policy:
    policy_id = _read_card(checkpoint).checkpoint_id
    if params.model.policy == "vllm_colocated":
        from agentic_vlm.backends.vllm_engine import open_colocated

        return open_colocated(params, checkpoint, processor, policy_id=policy_id)
    from agentic_vlm.backends import local

    return local.InProcessPolicy(
        local.load_model(checkpoint),
        processor,
        policy_id=policy_id,
        max_batch=params.agent.max_concurrent,
        is_deterministic=params.agent.deterministic,
        keeps_turns=params.model.keeps_turns,
        num_kept_prompts=num_kept_prompts,
    )


@asynccontextmanager
async def _open_served(params: Params, checkpoint: Path, corpus: Path) -> AsyncIterator[Runtime]:
    # The client takes a second to import.
    from agentic_vlm.backends.served import build_served, check_sees_pictures

    policy = build_served(params.model, _read_card(checkpoint), checkpoint=checkpoint)
    try:
        await check_sees_pictures(policy)
        async with open_kit(params, corpus=corpus) as kit:
            yield Runtime(policy, None, kit, server=policy)
    finally:
        await policy.close()


def _read_card(checkpoint: Path) -> CheckpointCard:
    path = checkpoint / "card.json"
    if not path.exists():
        fix = "run the stage that writes the checkpoint; a published model needs a card too"
        raise ArtifactMissing(str(path), "the checkpoint has no card", fix)
    return CheckpointCard.model_validate_json(path.read_text(encoding="utf-8"))
