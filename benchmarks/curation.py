"""What curate finds and misses, how fast it is, and how many attempts early stopping saves.

    python benchmarks/curation.py planted --rows 20000 --pictures 2000
    python benchmarks/curation.py speed --rows 20000 --pictures 500
    python benchmarks/curation.py readers --rows 1000000
    python benchmarks/curation.py stopping --samples 20000
    python benchmarks/curation.py all

Every line printed is one JSON object; the last one holds all figures of the run. The rival of
`speed` and `readers` is the same job in plain pandas, which is no dependency: without it, its
figures are null.
"""

import argparse
import importlib.util
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planting import Plantation, plant

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.curation.pictures import PictureView, view_picture
from agentic_vlm.curation.schedule import Rules, Schedule
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.readers import READERS
from agentic_vlm.formats.row import RowFault
from agentic_vlm.params import AllocateParams, CurateParams, ProbeParams
from agentic_vlm.schema import ProbeMode, Rejection, RejectReason, Verdict

K = 8
SHAPES = {
    "u_shaped": lambda rng: rng.betavariate(0.3, 0.3),
    "flat": lambda rng: rng.random(),
    "hard": lambda rng: rng.betavariate(0.5, 8.0),
}
HAS_PANDAS = importlib.util.find_spec("pandas") is not None


def view_all(field: Plantation) -> dict[str, PictureView]:
    """Return what is compared of all pictures, as stage curate keeps it."""
    return {name: view_picture(picture) for name, picture in field.pictures.items()}


def sift(field: Plantation, views: dict[str, PictureView]) -> dict[str, Rejection]:
    """Return the rejections by row id: what stage curate does with its rows."""
    params = CurateParams()
    suite = SuiteFilter(field.suite, views, params=params)
    duplicates = DuplicateFilter(views, params=params)
    rejected = {}
    for row in field.rows:
        sample = normalise_sample(row, params)
        if isinstance(sample, Rejection):
            rejected[row.source_row_id] = sample
            continue
        rejection = suite.check(sample) or duplicates.check(sample)
        if rejection is not None:
            rejected[row.source_row_id] = rejection
    return rejected


def measure_planted(options: argparse.Namespace) -> dict[str, Any]:
    """Count what is found of the planted rows, and what is taken for one of them wrongly."""
    field = plant(options.rows, num_pictures=options.pictures)
    rejected = sift(field, view_all(field))
    tainted = {name for name, row in rejected.items() if row.reason is RejectReason.CONTAMINATED}
    doubles = set(rejected) - tainted
    planted = field.duplicates | field.contaminated
    return {
        "rows": len(field.rows),
        "pictures": len(field.pictures),
        "duplicates_planted": len(field.duplicates),
        "duplicates_found": len(field.duplicates & doubles),
        "contaminations_planted": len(field.contaminated),
        "contaminations_found": len(field.contaminated & tainted),
        "false_alarms": len(set(rejected) - planted),
        "false_share": len(set(rejected) - planted) / len(field.rows),
    }


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Time pictures and rows on one core, beside exact matching in pandas."""
    field = plant(options.rows, num_pictures=options.pictures)
    start = time.process_time()
    views = view_all(field)
    looked = time.process_time()
    sift(field, views)
    done = time.process_time()
    figures = {
        "pictures_per_second": len(field.pictures) / (looked - start),
        "rows_per_second": len(field.rows) / (done - looked),
        "pandas_rows_per_second": None,
        "pandas_duplicates_found": None,
        "duplicates_planted": len(field.duplicates),
    }
    if HAS_PANDAS:
        start = time.process_time()
        found = sift_with_pandas(field)
        seconds = time.process_time() - start
        figures["pandas_rows_per_second"] = len(field.rows) / seconds
        figures["pandas_duplicates_found"] = len(found & field.duplicates)
    return figures


def sift_with_pandas(field: Plantation) -> set[str]:
    """Return what a data frame calls duplicates: equal texts, blanks and case apart."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "row_id": [row.source_row_id for row in field.rows],
            "question": [row.question for row in field.rows],
            "answer": [row.answer for row in field.rows],
            "picture": [row.images[0].sha256 if row.images else "" for row in field.rows],
        }
    )
    plain = frame["question"].str.lower().str.split().str.join(" ")
    keys = frame.assign(question=plain)[["question", "answer", "picture"]]
    return set(frame["row_id"][keys.duplicated()])


def measure_readers(options: argparse.Namespace) -> dict[str, Any]:
    """Return peak memory and speed of reading, each in a process of its own."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in (options.rows // 10, options.rows):
            path = Path(folder) / f"{num_rows}.tsv"
            write_tsv(path, num_rows)
            for reader in ("ours", "pandas") if HAS_PANDAS else ("ours",):
                command = [sys.executable, __file__, "read-one", "--path", str(path)]
                command += ["--reader", reader]
                answer = subprocess.run(command, capture_output=True, text=True, check=True)
                figures[f"{reader}_{num_rows}"] = json.loads(answer.stdout)
    small, large = (
        figures[f"ours_{rows}"]["peak_mb"] for rows in (options.rows // 10, options.rows)
    )
    return {**figures, "memory_ratio": large / small}


def write_tsv(path: Path, num_rows: int) -> None:
    """Write questions as VLMEvalKit does, each with a small picture of its own."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("index\timage\tquestion\tA\tB\tanswer\n")
        for index in range(num_rows):
            picture = "".join(rng.choices("abcdefgh", k=100))
            file.write(f"{index}\t{picture}\tWhich is number {index}?\tNone\tNA\tA\n")


def read_one(options: argparse.Namespace) -> dict[str, Any]:
    """Read one file in this process."""
    start = time.process_time()
    if options.reader == "ours":
        counts: Counter[bool] = Counter()
        for line in READERS["vlmevalkit"](options.path, Columns()):
            counts[isinstance(line.content, RowFault)] += 1
        num_rows, num_right = counts.total(), counts[False]
    else:
        import pandas as pd

        frame = pd.read_csv(options.path, sep="\t")
        num_rows, num_right = len(frame), int(frame["B"].notna().sum())
    seconds = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": num_rows,
        "rows_with_their_options": num_right,
        "rows_per_second": num_rows / seconds,
        "peak_mb": peak_mb,
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
        pool(*(right[sample_id, mode] for mode in ProbeMode), limit, least)
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
    while attempts := schedule.next_round():
        yield from attempts


def least_attempts(outcomes: list[bool], threshold: int) -> int:
    """Return after how many of these outcomes the decision is certain."""
    right = 0
    for made, outcome in enumerate(outcomes, start=1):
        right += outcome
        if right >= threshold or right + K - made < threshold:
            return made
    return K


def easy(table: dict[str, Any], sample_id: str, limit: int) -> bool:
    """Return whether the direct rule rejects a sample."""
    return sum(table[sample_id][0]) > limit


def pool(direct: int, tools: int, limit: int, least: int) -> str:
    """Return the pool that the fixed-k rule chooses."""
    if direct > limit:
        return "easy"
    return "rl" if tools >= least else "sft"


COMMANDS = {
    "planted": measure_planted,
    "speed": measure_speed,
    "readers": measure_readers,
    "stopping": measure_stopping,
    "read-one": read_one,
}


def main() -> None:
    """Run one measurement, or all of them."""
    parser = argparse.ArgumentParser(
        description="Measure curation.", epilog="example: python benchmarks/curation.py planted"
    )
    parser.add_argument("command", choices=(*COMMANDS, "all"))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--reader", choices=("ours", "pandas"), default="ours")
    options = parser.parse_args()
    if options.command != "all":
        print(json.dumps(COMMANDS[options.command](options)))
        return
    figures = {}
    for name in ("planted", "speed", "readers", "stopping"):
        figures[name] = COMMANDS[name](options)
        print(json.dumps({name: figures[name]}), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
