"""A project of a few rows in which everything hangs together, and its index."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentic_vlm.schema import (
    CheckpointCard,
    FinalAnswer,
    Observation,
    ObservationStatus,
    RawSample,
    Record,
    Rejection,
    ToolCall,
    Turn,
)
from agentic_vlm.store import ImageWriter, logging_latencies, write_records
from agentic_vlm.store.index import build_index
from agentic_vlm.store.latencies import Latency, log_latencies

ANSWER = Turn(text="<answer>red</answer>", action=FinalAnswer(text="red"), num_tokens=3)
GOOD = Turn(
    text="<code>crop()</code>",
    action=ToolCall(tool="python", code="crop()"),
    observation=Observation(text="42"),
    num_tokens=5,
)
BAD = Turn(
    text="<code>crap()</code>",
    action=ToolCall(tool="python", code="crap()"),
    observation=Observation(
        text="NameError: crap", status=ObservationStatus.ERROR, error_class="NameError"
    ),
    num_tokens=4,
)
SEARCH = Turn(
    text="<tool_call>",
    action=ToolCall(tool="search", arguments_json='{"query": "crest"}'),
    observation=Observation(text="a page"),
    num_tokens=6,
)


def write(root: Path, folder: str, records: list[Record]) -> None:
    """Write records of one type, in any order."""
    kind = type(records[0])
    write_records(root / folder, records, kind, key=lambda record: (record.model_dump_json(),))


@pytest.fixture
def write_samples(make_sample, make_image) -> Callable[[Path], None]:
    """Give a writer of s0 (RL), s1 (rejected), s2 (cold start), and s9 of the suite."""

    def write_all(root: Path) -> None:
        with ImageWriter(root / "data/raw/images") as images:
            ref = images.add(make_image())
        s0, s1, s2 = (
            make_sample(sample_id=f"s{n}", source_row_id=str(n), images=(ref,), difficulty=n)
            for n in range(3)
        )
        twin = s0.model_copy(update={"source_row_id": "7"})
        raw = [RawSample.model_validate(row.model_dump()) for row in (s0, s1, s2, twin)]
        write(root, "data/raw/records", raw)
        write(root, "data/curated/records", [s0, s2])
        write(root, "data/pools/rl/records", [s0])
        write(root, "data/pools/sft/records", [s2])
        s9 = make_sample(sample_id="s9", source_row_id="9", split="pocket")
        write(root, "data/suites/pocket/records", [RawSample.model_validate(s9.model_dump())])
        rejections = [
            Rejection(stage="curate", row_id="test:1", reason="near_duplicate", evidence="s0"),
            Rejection(stage="curate", row_id="test:7", reason="exact_duplicate", evidence="s0"),
        ]
        write(root, "data/curated/rejections", rejections)

    return write_all


@pytest.fixture
def write_episodes(make_trajectory, make_rollout, make_probe, make_score) -> Callable:
    """Give a writer of probes, teacher trajectories t1 and t2, rollouts r0 to r2, answer e1."""

    def write_all(root: Path) -> None:
        probes = [
            make_probe(),
            make_probe(attempt=1, is_needed=False, verdict=None),
            make_probe(mode="agent", verdict="correct", num_calls=1),
            make_probe(sample_id="s2", verdict="correct"),
            make_probe(sample_id="s2", mode="agent", verdict="correct"),
        ]
        write(root, "data/probes/records", probes)
        t1 = make_trajectory(trajectory_id="t1", sample_id="s2", turns=(GOOD, ANSWER))
        t2 = make_trajectory(trajectory_id="t2", sample_id="s2", attempt=1, verdict="incorrect")
        write(root, "data/trajectories/records", [t1, t2])
        write(root, "data/sft/records", [t1])
        refused = Rejection(stage="select_sft", row_id="t2", reason="not_correct", evidence="blue")
        write(root, "data/sft/rejections", [refused])
        rl = {"stage": "train_rl", "policy": "c-sft", "sample_id": "s0"}
        turns = {"r0": (GOOD, ANSWER), "r1": (BAD, SEARCH, ANSWER), "r2": (ANSWER,)}
        rollouts = []
        for number, (name, seen) in enumerate(turns.items()):
            is_right = name != "r1"
            verdict = "correct" if is_right else "incorrect"
            episode = make_trajectory(
                trajectory_id=name, turns=seen, attempt=number, verdict=verdict, **rl
            )
            step, reward = number // 2, float(is_right)
            rollouts.append(make_rollout(trajectory=episode, step=step, reward=reward))
        write(root, "data/rollouts/records", rollouts)
        e1 = make_trajectory(
            trajectory_id="e1", sample_id="s9", stage="evaluate", policy="c-rl",
            turns=(BAD, GOOD, ANSWER),
        )  # fmt: skip
        write(root, "data/scores/rl/trajectories", [e1])
        score = make_score(model="rl", sample_id="s9", trajectory_id="e1", num_calls=2)
        write(root, "data/scores/rl/scores", [score])

    return write_all


def write_cards(root: Path) -> None:
    """Write the cards of base, sft and rl."""
    parents = {"base": "", "sft": "c-base", "rl": "c-sft"}
    stages = {"base": "build_base", "sft": "train_sft", "rl": "train_rl"}
    for name, parent in parents.items():
        card = CheckpointCard(
            checkpoint_id=f"c-{name}", stage=stages[name], parent=parent, architecture="Tiny",
            num_parameters=1000, step=2, seed=0,
        )  # fmt: skip
        folder = root / "models" / name
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(card.model_dump_json())


def write_clock(root: Path) -> None:
    """Write what depends on the clock: runs, steps and calls."""
    run = {
        "run_id": "train_rl@1", "started_at": "2026-01-01T02:00:00+02:00", "wall_s": 2.0,
        "cpu_s": 1.0, "gpu_s": 4.0, "peak_memory_mb": 1.0, "num_in": 3, "num_out": 3,
        "seed": 0, "params_digest": "", "git_revision": "", "host": "", "steps": {"train": 1.5},
    }  # fmt: skip
    (root / "metrics").mkdir()
    (root / "metrics/timings.json").write_text(json.dumps({"train_rl": run}))
    with logging_latencies(root / ".scratch/train_rl"):
        log_latencies("r0", [Latency(0, "python", 0.1)])
        # The first try of this episode ended in an outage; its search was paid all the same.
        log_latencies("r1", [Latency(1, "search", 9.0, 0.002)])
        log_latencies("r1", [Latency(0, "python", 0.3), Latency(1, "search", 0.02, 0.001)])
    with logging_latencies(root / ".scratch/evaluate-rl"):
        log_latencies("e1", [Latency(0, "python", 0.2), Latency(1, "python", 0.4)])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that holds the project, once the first test has filled it."""
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def root(tmp_path, template, write_samples, write_episodes) -> Path:
    """Give a copy of the project with its index."""
    if not (template / "data").exists():
        write_samples(template)
        write_episodes(template)
        write_cards(template)
        write_clock(template)
        build_index(template, template / "data/trajectories.duckdb")
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def index(root: Path) -> Path:
    """Give the index of the project."""
    return root / "data/trajectories.duckdb"
