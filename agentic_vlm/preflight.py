"""What stands in the way of a run, found before any hour is spent."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from agentic_vlm import sandbox, search
from agentic_vlm.errors import AgenticError, ArtifactMissing, InfrastructureError
from agentic_vlm.params import Params, SandboxParams, TeacherPool
from agentic_vlm.sandbox import CellStatus

_MIN_DISK_GB = 3.0
_MIN_MEMORY_GB = 3.0


def find_obstacles(params: Params, *, root: Path) -> list[AgenticError]:
    """Return one error per obstacle: disk, memory, sandbox, base model, servers and keys."""
    return [
        *_resources(root),
        *_servers(params),
        *_engine(params),
        *search.find_missing(params.search, corpus=root / "data" / "corpus"),
        *_base_model(params, root),
        *_sandbox(params.sandbox),
    ]


def _resources(root: Path) -> Iterator[AgenticError]:
    disk_gb = shutil.disk_usage(root).free / 1e9
    if disk_gb < _MIN_DISK_GB:
        what = f"{disk_gb:.1f} GB free, {_MIN_DISK_GB:.0f} GB needed"
        yield InfrastructureError("disk", what, "free some, or move the project")
    memory_gb = _available_memory_gb()
    if memory_gb is not None and memory_gb < _MIN_MEMORY_GB:
        what = f"{memory_gb:.1f} GB available, {_MIN_MEMORY_GB:.0f} GB needed"
        yield InfrastructureError("memory", what, "close other programs")


def _available_memory_gb() -> float | None:
    """Return MemAvailable; absent where the kernel does not tell."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e9
    return None


def _servers(params: Params) -> Iterator[AgenticError]:
    wanted = {
        "AGENTIC_POLICY_URL": params.model.policy in ("openai", "vllm"),
        "AGENTIC_ROLLOUT_URLS": params.model.policy == "vllm",
        "AGENTIC_TEACHER_URL": params.synthesize.teacher.type == "openai",
        "AGENTIC_JUDGE_URL": params.grading.judge == "openai",
    }
    teacher = params.synthesize.teacher
    if isinstance(teacher, TeacherPool):
        wanted |= {member.url_env: True for member in teacher.members}
    for name, is_wanted in wanted.items():
        if is_wanted and not os.environ.get(name):
            fix = f"export {name}=http://HOST:PORT/v1"
            yield InfrastructureError(name, "params.yaml names a server without address", fix)


def _engine(params: Params) -> Iterator[AgenticError]:
    if params.model.policy == "vllm_colocated" and find_spec("vllm") is None:
        what = "vLLM is not installed"
        fix = "install the extra `gpu` with uv (docs/training.md), or sample in_process"
        yield InfrastructureError("model.policy: vllm_colocated", what, fix)


def _base_model(params: Params, root: Path) -> Iterator[AgenticError]:
    if params.model.revision:
        return
    card = root / params.model.base / "card.json"
    if not card.exists():
        fix = "git checkout models/base, or `dvc repro build_base` to train it again"
        yield ArtifactMissing(params.model.base, "no base model with a card.json here", fix)


def _sandbox(params: SandboxParams) -> Iterator[AgenticError]:
    try:
        status = asyncio.run(_run_one_cell(params))
    except InfrastructureError as error:
        yield error
        return
    if status is not CellStatus.OK:
        yield InfrastructureError(
            "sandbox", f"`1 + 1` ended as {status}", "raise the limits in section sandbox"
        )


async def _run_one_cell(params: SandboxParams) -> CellStatus:
    cells = sandbox.build(params)
    try:
        session = await cells.open([], seed=0)
        try:
            return (await session.run_cell("1 + 1")).status
        finally:
            await session.close()
    finally:
        await cells.close()
