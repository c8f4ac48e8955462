"""Records as rows of the index: one function per record type, keyed by table."""

from collections.abc import Callable, Iterator

from agentic_vlm.schema import (
    CuratedSample,
    Probe,
    RawSample,
    Record,
    Rejection,
    Rollout,
    ScoredAnswer,
    ToolCall,
    Trajectory,
    Turn,
)

Row = dict[str, object]
TableRow = tuple[str, Row]


def flatten(record: Record, *, folder: str) -> Iterator[TableRow]:
    """Yield (table, row) pairs of a record that lies in `folder`, relative to the root."""
    for record_type, rows_of in _BY_TYPE.items():
        if type(record) is record_type:
            yield from rows_of(record, folder)


def _sample_rows(sample: RawSample, folder: str) -> Iterator[TableRow]:
    pool = next((name for name in ("sft", "rl") if f"data/pools/{name}" in folder), None)
    yield (
        "samples",
        {
            **sample.model_dump(mode="json", exclude={"images", "solution", "aliases"}),
            "num_images": len(sample.images),
            "image_sha256": [image.sha256 for image in sample.images],
            "is_curated": isinstance(sample, CuratedSample),
            "pool": pool,
        },
    )


def _plain_rows(table: str) -> Callable[[Record, str], Iterator[TableRow]]:
    def rows_of(record: Record, folder: str) -> Iterator[TableRow]:
        del folder
        yield table, record.model_dump(mode="json")

    return rows_of


def _trajectory_rows(trajectory: Trajectory, folder: str) -> Iterator[TableRow]:
    dropped = {"system", "prompt", "images", "turns"}
    yield (
        "trajectories",
        {
            **trajectory.model_dump(mode="json", exclude=dropped),
            "num_turns": len(trajectory.turns),
            "num_calls": trajectory.num_calls,
            "num_failed_calls": trajectory.num_failed_calls,
            "num_tokens": trajectory.num_tokens,
            "is_selected": folder.startswith("data/sft"),
        },
    )
    for number, turn in enumerate(trajectory.turns):
        yield from _turn_rows(turn, {"trajectory_id": trajectory.trajectory_id, "turn": number})


def _turn_rows(turn: Turn, key: Row) -> Iterator[TableRow]:
    seen = turn.observation
    yield (
        "turns",
        {
            **key,
            "text": turn.text,
            "action": turn.action.type,
            "num_tokens": turn.num_tokens,
            "observation": None if seen is None else seen.text,
            "observation_status": None if seen is None else seen.status.value,
            "image_sha256": [] if seen is None else [image.sha256 for image in seen.images],
        },
    )
    if isinstance(turn.action, ToolCall):
        yield (
            "tool_calls",
            {
                **key,
                **turn.action.model_dump(mode="json", exclude={"type"}),
                "status": None if seen is None else seen.status.value,
                "error_class": None if seen is None else seen.error_class,
                "num_images": None if seen is None else len(seen.images),
                "num_chars": None if seen is None else len(seen.text),
                "num_dropped_chars": None if seen is None else seen.num_dropped_chars,
            },
        )


def _rollout_rows(rollout: Rollout, folder: str) -> Iterator[TableRow]:
    yield from _trajectory_rows(rollout.trajectory, folder)
    key = rollout.trajectory.trajectory_id
    yield (
        "rollout_steps",
        {
            "trajectory_id": key,
            "step": rollout.step,
            "policy_version": rollout.policy_version,
            "group_id": rollout.group_id,
            "reward": rollout.reward,
            "advantage": rollout.advantage,
            "num_prompt_tokens": len(rollout.prompt_ids),
            "num_completion_tokens": len(rollout.completion_ids),
            "num_trained_tokens": sum(rollout.loss_mask),
        },
    )
    parts = {"accuracy": rollout.reward_accuracy, "format": rollout.reward_format}
    for component, value in parts.items():
        if value is not None:
            yield "rewards", {"trajectory_id": key, "component": component, "value": value}


# The functions take the record type that their key names.
_BY_TYPE: dict[type[Record], Callable[..., Iterator[TableRow]]] = {
    RawSample: _sample_rows,
    CuratedSample: _sample_rows,
    Probe: _plain_rows("probes"),
    Trajectory: _trajectory_rows,
    Rollout: _rollout_rows,
    ScoredAnswer: _plain_rows("evaluations"),
    Rejection: _plain_rows("rejections"),
}

RECORD_TYPES: dict[str, type[Record]] = {kind.__name__: kind for kind in _BY_TYPE}
"""Record types that the index knows, by the name in the Parquet files."""
