"""Fixtures for all tests: no network, fixed seeds, tiny pictures, builders of records."""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# Before any test module imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import hypothesis
import numpy as np
import pytest
from PIL import Image

from agentic_vlm.schema import (
    AnswerType,
    CuratedSample,
    FinalAnswer,
    ImageRef,
    Observation,
    Probe,
    ProbeMode,
    Rollout,
    ScoredAnswer,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
    Verdict,
    content_id,
)

# A busy machine makes any example slow; how fast code is stands in benchmarks/.
hypothesis.settings.register_profile("bears_load", deadline=None)
hypothesis.settings.load_profile("bears_load")

_LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew; say why they moved"
    )


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test that reaches out fail at once, unless it is marked network or live."""
    if request.node.get_closest_marker("network") or request.node.get_closest_marker("live"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0] if isinstance(address, tuple) else address
            if host not in _LOCAL_HOSTS:
                _refuse(host)
        connect(self, address)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _refuse(host: object) -> NoReturn:
    pytest.fail(f"a test without the marker `network` wants to reach {host}")


@pytest.fixture
def make_image() -> Callable[..., Image.Image]:
    """Give a builder of tiny pictures in one colour."""

    def make(colour: str = "red", size: tuple[int, int] = (32, 32)) -> Image.Image:
        return Image.new("RGB", size, colour)

    return make


@pytest.fixture
def make_sample() -> Callable[..., CuratedSample]:
    """Give a builder of curated samples; every field can be set."""

    def make(**fields: object) -> CuratedSample:
        question = str(fields.get("question", "which colour?"))
        known: dict[str, object] = {
            "sample_id": content_id(question),
            "source": "test",
            "source_row_id": "0",
            "split": "train",
            "family": "perception",
            "question": question,
            "answer": "red",
            "answer_type": AnswerType.TEXT,
        }
        return CuratedSample.model_validate({**known, **fields})

    return make


@pytest.fixture
def make_trajectory() -> Callable[..., Trajectory]:
    """Give a builder of two-turn trajectories: one call, one answer; every field can be set."""

    def make(**fields: object) -> Trajectory:
        call = ToolCall(tool="python", code="1 + 1")
        turns = (
            Turn(
                text="<code>1 + 1</code>",
                action=call,
                observation=Observation(text="2"),
                num_tokens=5,
            ),
            Turn(text="<answer>2</answer>", action=FinalAnswer(text="2"), num_tokens=3),
        )
        known: dict[str, object] = {
            "trajectory_id": "t0",
            "sample_id": "s0",
            "stage": "synthesize",
            "policy": "scripted:test",
            "mode": "agent",
            "protocol": "deepeyesv2",
            "attempt": 0,
            "seed": 7,
            "system": "",
            "prompt": "how much?",
            "turns": turns,
            "stop_reason": StopReason.ANSWER,
            "answer": "2",
            "verdict": Verdict.CORRECT,
        }
        return Trajectory.model_validate({**known, **fields})

    return make


@pytest.fixture
def make_rollout(make_trajectory: Callable[..., Trajectory]) -> Callable[..., Rollout]:
    """Give a builder of rollouts with two prompt tokens and three completion tokens."""

    def make(**fields: object) -> Rollout:
        known: dict[str, object] = {
            "trajectory": make_trajectory(trajectory_id="r0", stage="train_rl"),
            "step": 0,
            "policy_version": 0,
            "group_id": "g0",
            "prompt_ids": (1, 2),
            "completion_ids": (3, 4, 5),
            "loss_mask": (True, False, True),
            "sampler_logprobs": (-0.5, 0.0, -0.25),
            "reward_accuracy": 1.0,
            "reward_format": 1.0,
            "reward": 1.0,
            "advantage": 0.5,
        }
        return Rollout.model_validate({**known, **fields})

    return make


@pytest.fixture
def make_probe() -> Callable[..., Probe]:
    """Give a builder of probes; every field can be set."""

    def make(**fields: object) -> Probe:
        known: dict[str, object] = {
            "sample_id": "s0",
            "mode": ProbeMode.DIRECT,
            "attempt": 0,
            "is_needed": True,
            "verdict": Verdict.INCORRECT,
        }
        return Probe.model_validate({**known, **fields})

    return make


@pytest.fixture
def make_score() -> Callable[..., ScoredAnswer]:
    """Give a builder of scored answers; every field can be set."""

    def make(**fields: object) -> ScoredAnswer:
        known: dict[str, object] = {
            "model": "base",
            "suite": "pocket",
            "mode": "agent",
            "sample_id": "s0",
            "trajectory_id": "t0",
            "family": "perception",
            "need": "tool",
            "difficulty": 1,
            "verdict": Verdict.CORRECT,
            "rule": "text",
            "answer": "2",
            "stop_reason": "answer",
            "num_calls": 1,
            "num_failed_calls": 0,
            "num_tokens": 8,
        }
        return ScoredAnswer.model_validate({**known, **fields})

    return make


@pytest.fixture
def image_ref() -> ImageRef:
    """Give a reference to a picture that is in no store."""
    return ImageRef(sha256="0" * 64, width_px=32, height_px=32)


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Give an empty project folder with the committed params.yaml."""
    source = request.config.rootpath / "params.yaml"
    (tmp_path / "params.yaml").write_text(source.read_text())
    return tmp_path
