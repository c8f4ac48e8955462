"""Finished episodes on disk, so that a killed update does not sample its rollouts again.

Tokens, log-probabilities and pictures come back exactly; what comes back is checked against the
seals that the episode got while it ran, so that a file that was edited or mixed up is refused.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

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
from agentic_vlm.training.stored_images import (
    DecodedPictures,
    File,
    Place,
    StoredImage,
    png_file,
)
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
# Few decoded pictures at a time.
_PICTURES_PER_GROUP = 64
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
    distinct = {one.digest: one for episode in episodes for one in _context_of(episode).placed}
    placed = list(distinct.values())
    with pq.ParquetWriter(draft / "pictures.parquet", _PICTURES) as writer:
        for at in range(0, len(placed), _PICTURES_PER_GROUP):
            some = placed[at : at + _PICTURES_PER_GROUP]
            pictures = [{"digest": one.digest, "png": encode_png(one.image)} for one in some]
            writer.write_table(pa.Table.from_pylist(pictures, schema=_PICTURES))
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def read_episodes(
    folder: Path, *, placeholders: PlaceholderIds, decoded: DecodedPictures
) -> list[Episode]:
    """Read what `write_episodes` wrote.

    Args:
        folder: the folder.
        placeholders: of the tokenizer that the episodes were sampled with.
        decoded: shared by all episodes of the run.

    Raises:
        ExactnessError: tokens or pictures are not those that were sealed.
    """
    files = {
        # By the bytes that are there: the digest says which picture should be there.
        row["digest"]: png_file(sha256(row["png"]).hexdigest(), row["png"])
        for row in pq.read_table(folder / "pictures.parquet").to_pylist()
    }
    rows = pq.read_table(folder / "episodes.parquet").to_pylist()
    shelf = _Shelf(files, decoded, placeholders, str(folder))
    return [_episode(row, shelf) for row in rows]


class _Shelf(NamedTuple):
    """What the episodes of a folder share."""

    files: dict[str, File]
    decoded: DecodedPictures
    placeholders: PlaceholderIds
    where: str


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


def _episode(row: dict[str, Any], shelf: _Shelf) -> Episode:
    rest = json.loads(row["rest"])
    placed: list[PlacedImage] = []
    for number, one in enumerate(rest["placed"]):
        if one["digest"] not in shelf.files:
            raise ExactnessError(
                f"{shelf.where}, episode {rest['episode_id']}, turn {one['turn']}, "
                f"image {number + 1}",
                "the picture is not in the file",
                "delete the folder; its rollouts are sampled again",
            )
        place = Place(**{**one, "grid_thw": tuple(one["grid_thw"])})
        placed.append(StoredImage(place, shelf.files[one["digest"]], shelf.decoded))
    context = TokenContext(
        rest["episode_id"],
        shelf.placeholders,
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
