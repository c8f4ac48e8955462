"""CheckpointCard: where a checkpoint comes from."""

from agentic_vlm.schema.record import Record


class CheckpointCard(Record):
    """Written as `card.json` beside the weights."""

    checkpoint_id: str
    """Digest of weights, config, tokenizer and chat template."""
    stage: str
    """The stage that made it, or `hub` for a published model."""
    parent: str
    """checkpoint_id of the checkpoint it started from; empty for the base."""
    architecture: str
    """Class name of the model."""
    num_parameters: int
    """All parameters."""
    step: int
    """Optimiser steps of this stage."""
    seed: int
    """Seed of this stage."""
    code_sha256: str = ""
    """Digest of the code that made it; kept for the frozen base only."""
    command: str = ""
    """Command that makes it again."""
    notes: tuple[str, ...] = ()
    """Measured facts worth knowing, one sentence each."""
