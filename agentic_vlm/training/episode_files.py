"""Finished episodes on disk, so that a killed update does not sample its rollouts again.

Tokens, log-probabilities and pictures come back exactly; what comes back is checked against the
seals that the episode got while it ran, so that a file that was edited or mixed up is refused.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from agentic_vlm.agent.context import (
    Entry,
    PlacedImage,
    PlaceholderIds,
    TokenContext,
    check_exact,
)
from agentic_vlm.agent.state import CallTiming, Episode
from agentic_vlm.errors import ExactnessError
from agentic_vlm.schema import Trajectory
from agentic_vlm.vision import encode_png

_SCHEMA = pa.schema(
    [
        ("trajectory", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("completion_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.bool_())),
        ("logprobs", pa.list_(pa.float64())),
        ("rest", pa.string()),
    ]
)
_PICTURES = pa.schema([("digest", pa.string()), ("png", pa.binary())])


def write_episodes(folder: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes with their tokens; the folder appears complete or not at all.

    Args:
        folder: where to; an older one is replaced.
        episodes: each with a context.
    """
    draft = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rows = [_row(episode) for episode in episodes]
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), draft / "episodes.parquet")
    placed = {one.digest: one.image for episode in episodes for one in _context_of(episode).placed}
    pictures = [{"digest": digest, "png": encode_png(image)} for digest, image in placed.items()]
    pq.write_table(pa.Table.from_pylist(pictures, schema=_PICTURES), draft / "pictures.parquet")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def read_episodes(folder: Path, *, placeholders: PlaceholderIds) -> list[Episode]:
    """Read what `write_episodes` wrote.

    Args:
        folder: the folder.
        placeholders: of the tokenizer that the episodes were sampled with.

    Raises:
        ExactnessError: tokens or pictures are not those that were sealed.
    """
    images = {
        row["digest"]: _decode(row["png"])
        for row in pq.read_table(folder / "pictures.parquet").to_pylist()
    }
    rows = pq.read_table(folder / "episodes.parquet").to_pylist()
    return [_episode(row, images, placeholders, where=str(folder)) for row in rows]


def _context_of(episode: Episode) -> TokenContext:
    if episode.context is None:
        raise ValueError(f"episode {episode.trajectory.trajectory_id} has no tokens to keep")
    return episode.context


def _row(episode: Episode) -> dict[str, Any]:
    context = _context_of(episode)
    rest = {
        "episode_id": context.episode_id,
        "turn_spans": context.turn_spans,
        "entries": [asdict(entry) for entry in context.entries],
        "placed": [
            {
                "digest": one.digest,
                "grid_thw": one.grid_thw,
                "num_tokens": one.num_tokens,
                "turn": one.turn,
            }
            for one in context.placed
        ],
        "timings": [asdict(timing) for timing in episode.timings],
        "pictures": {sha: png.hex() for sha, png in episode.pictures.items()},
    }
    return {
        "trajectory": episode.trajectory.model_dump_json(),
        "prompt_ids": context.prompt_ids,
        "completion_ids": context.completion_ids,
        "loss_mask": context.loss_mask,
        "logprobs": context.logprobs,
        "rest": json.dumps(rest),
    }


def _episode(
    row: dict[str, Any], images: dict[str, Image.Image], placeholders: PlaceholderIds, *, where: str
) -> Episode:
    rest = json.loads(row["rest"])
    placed = []
    for number, one in enumerate(rest["placed"]):
        if one["digest"] not in images:
            raise ExactnessError(
                f"{where}, episode {rest['episode_id']}, turn {one['turn']}, image {number + 1}",
                "the picture is not in the file",
                "delete the folder; its rollouts are sampled again",
            )
        grid = tuple(one["grid_thw"])
        placed.append(
            PlacedImage(images[one["digest"]], one["digest"], grid, one["num_tokens"], one["turn"])
        )
    context = TokenContext(
        rest["episode_id"],
        placeholders,
        row["prompt_ids"],
        placed,
        row["completion_ids"],
        row["loss_mask"],
        row["logprobs"],
        [(start, end) for start, end in rest["turn_spans"]],
        [Entry(**entry) for entry in rest["entries"]],
    )
    check_exact(context)
    return Episode(
        Trajectory.model_validate_json(row["trajectory"]),
        context,
        {sha: bytes.fromhex(png) for sha, png in rest["pictures"].items()},
        tuple(CallTiming(**timing) for timing in rest["timings"]),
    )


def _decode(png: bytes) -> Image.Image:
    image = Image.open(BytesIO(png))
    image.load()
    return image
