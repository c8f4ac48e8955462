"""How many attempts early stopping saves, and what that is in time on the pocket base.

    python benchmarks/probing.py stopping --samples 20000
    python benchmarks/probing.py throughput --samples 40
    python benchmarks/probing.py all

Every line printed is one JSON object. `stopping` plays three shapes of difficulty and compares the
attempts with the fixed k and with the computed optimum; `throughput` runs the stage on the same
samples of the pocket world, with early stopping and with the fixed k, twice each.
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentic_vlm.curation.schedule import Rules, Schedule
from agentic_vlm.params import AllocateParams, ProbeParams
from agentic_vlm.schema import CuratedSample, ProbeMode, Trajectory, Verdict
from agentic_vlm.store import iter_records

ROOT = Path(__file__).resolve().parents[1]
# Flows and stages are no part of the installed package.
sys.path.insert(0, str(ROOT))

from flows.params import write_params  # noqa: E402
from stages import allocate, curate, ingest, probe  # noqa: E402

K = 8
SHAPES = {
    "u_shaped": lambda rng: rng.betavariate(0.3, 0.3),
    "flat": lambda rng: rng.random(),
    "hard": lambda rng: rng.betavariate(0.5, 8.0),
}


def expected_attempts(chance: float, threshold: int) -> float:
    """Return the expected attempts until it is certain whether `threshold` of 8 are right."""
    alive = {0: 1.0}
    expected = 0.0
    for made in range(K):
        expected += sum(alive.values())
        following: dict[int, float] = {}
        for right, weight in alive.items():
            for now, share in ((right + 1, chance), (right, 1 - chance)):
                if now < threshold and now + K - made - 1 >= threshold:
                    following[now] = following.get(now, 0.0) + weight * share
        alive = following
    return expected


def measure_stopping(options: argparse.Namespace) -> dict[str, Any]:
    """Return attempts with early stopping beside the fixed k and the computed optimum."""
    return {name: one_shape(options.samples, name) for name in SHAPES}


def one_shape(num_samples: int, name: str) -> dict[str, Any]:
    """Play one shape of difficulty: tools help half of what the base cannot do."""
    rng = random.Random(name)
    allocate = AllocateParams()
    limit, least = allocate.max_direct_successes, allocate.min_tool_successes
    chances = {str(at): SHAPES[name](rng) for at in range(num_samples)}
    table = {}
    optimum = 0.0
    for sample_id, chance in chances.items():
        direct = [rng.random() < chance for _ in range(K)]
        with_tools = [rng.random() < (1 + chance) / 2 for _ in range(K)]
        table[sample_id] = (direct, with_tools)
        optimum += least_attempts(direct, limit + 1)
        if sum(direct) <= limit:
            optimum += least_attempts(with_tools, least)
    schedule = Schedule(table, Rules.of(ProbeParams(num_attempts=K), allocate))
    made: Counter[tuple[str, ProbeMode]] = Counter()
    right: Counter[tuple[str, ProbeMode]] = Counter()
    for sample_id, mode, number in iter_attempts(schedule):
        outcome = table[sample_id][mode is ProbeMode.AGENT][number]
        made[sample_id, mode] += 1
        right[sample_id, mode] += outcome
        schedule.record(sample_id, mode, Verdict.CORRECT if outcome else Verdict.INCORRECT)
    decisions = all(
        pool(right[sample_id, ProbeMode.DIRECT], right[sample_id, ProbeMode.AGENT], limit, least)
        == pool(sum(direct), sum(tools), limit, least)
        for sample_id, (direct, tools) in table.items()
    )
    expected = sum(expected_attempts(chance, limit + 1) for chance in chances.values())
    wasted = sum(
        made[sample_id, ProbeMode.AGENT] for sample_id in table if easy(table, sample_id, limit)
    )
    return {
        "samples": num_samples,
        "fixed": 2 * K * num_samples,
        "made": made.total(),
        "optimum": optimum,
        "over_optimum": made.total() / optimum - 1,
        "times_fewer": 2 * K * num_samples / made.total(),
        "direct_over_expected": sum(made[key] for key in made if key[1] is ProbeMode.DIRECT)
        / expected
        - 1,
        "tool_attempts_after_direct_rejection": wasted,
        "same_decisions": decisions,
    }


def iter_attempts(schedule: Schedule) -> Iterator[Any]:
    """Yield the attempts of all rounds."""
    while attempts := schedule.next_attempts(256):
        yield from attempts


def least_attempts(outcomes: list[bool], threshold: int) -> int:
    """Return after how many of these outcomes the decision is certain."""
    right = 0
    for made, outcome in enumerate(outcomes, start=1):
        right += outcome
        if right >= threshold or right + K - made < threshold:
            return made
    return K


def easy(table: dict[str, tuple[list[bool], list[bool]]], sample_id: str, limit: int) -> bool:
    """Return whether the direct rule rejects a sample."""
    return sum(table[sample_id][0]) > limit


def pool(direct: int, tools: int, limit: int, least: int) -> str:
    """Return the pool that the fixed-k rule chooses."""
    if direct > limit:
        return "easy"
    return "rl" if tools >= least else "sft"


def measure_throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Probe the same samples with early stopping and with the fixed k, in both orders.

    CPU seconds are those of this process and of the sandbox processes that it started. Pools must
    agree, and attempts that both sides made should have the same texts, up to rounding.
    """
    runs: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    pools: dict[bool, list[dict[str, list[str]]]] = {True: [], False: []}
    texts: dict[bool, dict[tuple[str, str, int], list[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, options.samples)
        # What the first use of a model costs, imports and all, belongs to neither side.
        probe.STAGE.execute(probe.run, root=root, limit=2)
        for stops_early in (True, False, False, True):
            write_params(
                root / "params.yaml", overrides=[f"probe.stop_early={str(stops_early).lower()}"]
            )
            shutil.rmtree(root / ".scratch", ignore_errors=True)
            wall, cpu = time.perf_counter(), cpu_seconds()
            report = probe.STAGE.execute(probe.run, root=root)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            runs[stops_early].append(
                {"attempts": report.num_out, "seconds": wall, "cpu_seconds": cpu}
            )
            allocate.STAGE.execute(allocate.run, root=root)
            pools[stops_early].append(read_pools(root))
            texts[stops_early] = read_texts(root)
    early, fixed = (sum(run["cpu_seconds"] for run in runs[one]) for one in (True, False))
    made_early, made_fixed = (runs[one][0]["attempts"] for one in (True, False))
    return {
        "samples": options.samples,
        "early": runs[True],
        "fixed": runs[False],
        "times_fewer_attempts": made_fixed / made_early,
        "times_less_cpu": fixed / early,
        "same_pools": all(one == pools[True][0] for one in (*pools[True], *pools[False])),
        "same_texts": sum(texts[False][key] == text for key, text in texts[True].items()),
        "of_attempts": len(texts[True]),
    }


def cpu_seconds() -> float:
    """Return what this process and its finished children have computed so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def read_pools(root: Path) -> dict[str, list[str]]:
    """Return the ids of the samples by pool."""
    folders = {pool: root / "data/pools" / pool / "records" for pool in ("sft", "rl")}
    return {
        pool: [row.sample_id for row in iter_records(folder, CuratedSample)]
        for pool, folder in folders.items()
    }


def read_texts(root: Path) -> dict[tuple[str, str, int], list[str]]:
    """Return what the base wrote in every attempt that was made."""
    return {
        (row.sample_id, row.mode, row.attempt): [turn.text for turn in row.turns]
        for row in iter_records(root / "data/probes/trajectories", Trajectory)
    }


def prepare(root: Path, num_samples: int) -> None:
    """Write a project with a fifth of the samples in each family, and the committed base."""
    each = max(num_samples // 5, 1)
    families = ("perception", "reasoning", "search", "integration", "text")
    few = json.dumps(dict.fromkeys(families, each))
    one = json.dumps(dict.fromkeys(families, 1))
    shutil.copytree(ROOT / "models/base", root / "models/base")
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    world = (
        f"{{type: world, name: world, seed: 0, num_train: {few}, tool_share: 0.6, suite: pocket, "
        f"num_eval_tool: {one}, num_eval_direct: {one}, num_entities: 200, num_articles: 400}}"
    )
    write_params(root / "params.yaml", overrides=[f"ingest.sources=[{world}]"])
    for stage in (ingest, curate):
        stage.STAGE.execute(stage.run, root=root)


COMMANDS = {"stopping": measure_stopping, "throughput": measure_throughput}


def main() -> None:
    """Run one measurement, or both."""
    parser = argparse.ArgumentParser(
        description="Measure probing.", epilog="example: python benchmarks/probing.py stopping"
    )
    parser.add_argument("command", choices=(*COMMANDS, "all"))
    parser.add_argument("--samples", type=int)
    options = parser.parse_args()
    for name, measure in COMMANDS.items():
        if options.command in (name, "all"):
            given = options.samples or {"stopping": 20_000, "throughput": 40}[name]
            figures = measure(argparse.Namespace(samples=given))
            print(json.dumps({name: figures}), flush=True)


if __name__ == "__main__":
    main()
