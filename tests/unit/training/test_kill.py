"""Killed at any moment, a training ends with the hash of the undisturbed run."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import TrainRlParams, TrainSftParams
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.resume import model_digest
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.sft import train_sft
from agentic_vlm.world.base_model import build_model
from tests.unit.training.conftest import mixed_contexts
from tests.unit.training.test_rl import make_roller

_NUM_KILLS = 10

Beat = Callable[[], None]
Train = Callable[[Path, Beat], Any]
"""Trains in a scratch folder, calls the beat often, and returns the model."""


def run_child(train: Train, scratch: Path, *, kill_at: int | None) -> str | None:
    """Train in a process of its own; kill it after so many beats. Return the hash, if it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            model = train(scratch, lambda: os.write(writer, b".") and None)
            os.write(writer, b"=" + model_digest(model).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    heard = b""
    with os.fdopen(reader, "rb", buffering=0) as stream:
        while piece := stream.read(4096):
            heard += piece
            if kill_at is not None and heard.count(b".") >= kill_at:
                # The child goes on meanwhile: the blow falls at any moment after this beat.
                os.kill(child, signal.SIGKILL)
                kill_at = None
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    assert os.waitstatus_to_exitcode(status) == 0
    return heard.rpartition(b"=")[2].decode()


def check_kills(train: Train, folder: Path, *, num_beats: int) -> None:
    undisturbed = run_child(train, folder / "whole", kill_at=None)
    rng = random.Random(0)
    killed = 0
    found = None
    while found is None:
        at = rng.randrange(1, num_beats) if killed < _NUM_KILLS else None
        found = run_child(train, folder / "killed", kill_at=at)
        killed += found is None
        if found is not None and killed < _NUM_KILLS:
            # It ended before its blow: kill another run of the same training.
            (folder / "killed").rename(folder / f"ended-{len(list(folder.iterdir()))}")
            assert found == undisturbed
            found = None
    assert found == undisturbed


@pytest.mark.slow
def test_a_cold_start_that_is_killed_ten_times_ends_with_the_same_hash(
    processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    params = TrainSftParams(
        learning_rate=3e-3, batch_size=2, num_steps=6, max_tokens=2000, save_every=1
    )

    def train(scratch: Path, beat: Beat) -> Any:
        model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
        contexts = mixed_contexts(renderer)
        train_sft(
            model,
            processor,
            contexts,
            params,
            seed=0,
            scratch=scratch,
            on_step=lambda step: beat(),
        )
        return model

    check_kills(train, tmp_path, num_beats=6)


@pytest.mark.slow
def test_reinforcement_learning_that_is_killed_ten_times_ends_with_the_same_hash(
    processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    params = TrainRlParams(
        num_steps=3,
        prompts_per_step=2,
        group_size=4,
        num_minibatches=2,
        learning_rate=1e-3,
        save_every=1,
    )

    def train(scratch: Path, beat: Beat) -> Any:
        model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
        loop = LoopThread()
        train_rl(
            model,
            processor,
            make_roller(renderer, loop, params=params),
            ["s1", "s2"],
            params,
            seed=0,
            scratch=scratch,
            on_weights=beat,
            on_rollouts=lambda step, rows, advantages: beat(),
            on_step=lambda step: beat(),
        )
        return model

    check_kills(train, tmp_path, num_beats=12)
