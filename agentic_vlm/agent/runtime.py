"""Runtime: everything that episodes share, opened together and closed together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agentic_vlm import sandbox, search
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.base import Policy
from agentic_vlm.params import Params
from agentic_vlm.schema import CheckpointCard
from agentic_vlm.tools.toolbox import Toolkit


@dataclass(frozen=True, slots=True)
class Runtime:
    """What `run_batch` needs."""

    policy: Policy
    """Who acts."""
    renderer: Renderer | None
    """Makes token ids; absent for policies that take text."""
    kit: Toolkit
    """What the tools of all episodes share."""


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
async def open_runtime(params: Params, *, checkpoint: Path, corpus: Path) -> AsyncIterator[Runtime]:
    """Load a checkpoint into this process and open the tools.

    Args:
        params: the whole of params.yaml.
        checkpoint: folder with weights, processor and `card.json`.
        corpus: folder of the encyclopedia and its index.

    Raises:
        ArtifactMissing: the folder holds no checkpoint.
    """
    # torch takes seconds to import, and text backends never need it.
    from agentic_vlm.backends import local

    processor = local.load_processor(checkpoint)
    card = CheckpointCard.model_validate_json((checkpoint / "card.json").read_text())
    policy = local.InProcessPolicy(
        local.load_model(checkpoint),
        processor,
        policy_id=card.checkpoint_id,
        max_batch=params.agent.max_concurrent,
        is_deterministic=params.agent.deterministic,
    )
    async with open_kit(params, corpus=corpus) as kit:
        try:
            yield Runtime(policy, Renderer(processor.tokenizer, vision=params.vision), kit)
        finally:
            await policy.close()
