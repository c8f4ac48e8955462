"""What a run of a stage cost, and where and when it ran: facts that never enter an output."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from agentic_vlm.params import Params


class RowCounts(Protocol):
    """The part of a stage's report that the log keeps."""

    @property
    def num_in(self) -> int:
        """Rows read."""
        ...

    @property
    def num_out(self) -> int:
        """Rows written."""
        ...


class RunLog:
    """Collects the seconds of a run; begins to count when made."""

    def __init__(self, name: str) -> None:
        """Name the run, such as `curate` or `evaluate-base`."""
        self.name = name
        self.steps: dict[str, float] = {}
        self._started_at = datetime.now(UTC)
        self._start_s = time.perf_counter()
        self._start_cpu_s = _cpu_s()

    def add_step(self, step: str, seconds: float) -> None:
        """Add seconds to a step."""
        self.steps[step] = self.steps.get(step, 0.0) + seconds

    def write(self, root: Path, *, params: Params, report: RowCounts) -> None:
        """Write metrics/timings/<name>.json and merge all of them into metrics/timings.json."""
        digest = hashlib.sha256(params.model_dump_json().encode()).hexdigest()[:16]
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall_s = time.perf_counter() - self._start_s
        folder = root / "metrics" / "timings"
        write_json(
            folder / f"{self.name}.json",
            {
                "run_id": f"{self.name}@{self._started_at:%Y%m%dT%H%M%S%f}",
                "started_at": self._started_at.isoformat(),
                "wall_s": round(wall_s, 3),
                "cpu_s": round(_cpu_s() - self._start_cpu_s, 3),
                "gpu_s": round(wall_s * _num_gpus(), 3),
                "peak_memory_mb": round(peak_kib / 1024, 1),
                "steps": {step: round(seconds, 3) for step, seconds in self.steps.items()},
                "num_in": report.num_in,
                "num_out": report.num_out,
                "seed": params.seed,
                "params_digest": digest,
                "git_revision": _git_revision(root),
                "host": platform.node(),
            },
        )
        runs = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
        write_json(root / "metrics" / "timings.json", runs)


def write_json(path: Path, content: object) -> None:
    """Write sorted, indented JSON in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    draft.write_text(text + "\n", encoding="utf-8")
    os.replace(draft, path)


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _num_gpus() -> int:
    """Return how many devices this process holds; 0 where it has not touched one.

    Asks the library that is loaded already: to load it for this would cost seconds and its memory.
    """
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return int(cuda.device_count()) if cuda is not None and cuda.is_initialized() else 0


def _git_revision(root: Path) -> str:
    """Return the commit that is checked out; empty in a source archive."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return result.stdout.strip()
