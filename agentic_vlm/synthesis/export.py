"""The two pools in the forms that other trainers read."""

from collections.abc import Iterator
from pathlib import Path

from agentic_vlm.formats.conversations import ConversationRow, write_conversations
from agentic_vlm.formats.verl import VerlRow, write_verl
from agentic_vlm.schema import CuratedSample, Trajectory
from agentic_vlm.store import ImageStore, iter_records

_SUFFIXES = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


def export_rl_pool(root: Path, path: Path) -> int:
    """Write data/pools/rl as verl's Parquet and return the number of rows.

    Raises:
        ArtifactMissing: the pool has not been written.
    """
    store = ImageStore.open(root / "data/raw/images")
    pool = iter_records(root / "data/pools/rl/records", CuratedSample)
    return write_verl(path, (_to_verl(sample, store) for sample in pool))


def _to_verl(sample: CuratedSample, store: ImageStore) -> VerlRow:
    return VerlRow(
        row_id=sample.sample_id,
        question=sample.question,
        answer=sample.answer,
        aliases=sample.aliases,
        family=sample.family,
        pictures=tuple(store.get_bytes(ref) for ref in sample.images),
    )


def export_cold_start(root: Path, folder: Path) -> int:
    """Write data/sft as LLaMA-Factory's JSON with pictures, and return the number of rows.

    Raises:
        ArtifactMissing: the trajectories have not been selected.
    """
    folders = [root / name / "images" for name in ("data/raw", "data/trajectories")]
    store = ImageStore.open(*folders)
    curated = iter_records(root / "data/curated/records", CuratedSample)
    samples = {sample.sample_id: sample for sample in curated}
    return write_conversations(folder, _conversations(root, samples, store), name="cold_start")


def _conversations(
    root: Path, samples: dict[str, CuratedSample], store: ImageStore
) -> Iterator[ConversationRow]:
    for trajectory in iter_records(root / "data/sft/records", Trajectory):
        yield to_conversation(trajectory, samples[trajectory.sample_id], store)


def to_conversation(
    trajectory: Trajectory, sample: CuratedSample, store: ImageStore
) -> ConversationRow:
    """Return the messages of a trajectory: observations are `user` messages, pre-fills written."""
    messages = [("user", trajectory.prompt)]
    refs = list(trajectory.images)
    for turn in trajectory.turns:
        messages.append(("assistant", turn.prefill + turn.text))
        if turn.observation is not None:
            messages.append(("user", turn.observation.text))
            refs += turn.observation.images
    return ConversationRow(
        row_id=trajectory.trajectory_id,
        question=sample.question,
        answer=sample.answer,
        system=trajectory.system,
        messages=tuple(messages),
        pictures=tuple(
            (f"{ref.sha256}.{_SUFFIXES.get(ref.media_type, 'img')}", store.get_bytes(ref))
            for ref in refs
        ),
    )
