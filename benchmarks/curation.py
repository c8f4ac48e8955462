"""What curate finds and misses, how fast it is, and what memory it takes.

    python benchmarks/curation.py planted --rows 20000 --pictures 2000
    python benchmarks/curation.py speed --rows 20000 --pictures 500
    python benchmarks/curation.py readers --rows 1000000
    python benchmarks/curation.py stages --rows 1000000
    python benchmarks/curation.py all

Every line printed is one JSON object; the last one holds all figures of the run. The rival of
the last three is the same job in plain pandas, which is no dependency: without it, its
figures are null.
"""

import argparse
import importlib
import importlib.util
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from planting import Plantation, plant

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.curation.pictures import PictureView, view_picture
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.readers import READERS
from agentic_vlm.formats.row import RowFault
from agentic_vlm.params import CurateParams, Params
from agentic_vlm.schema import Rejection, RejectReason

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


def measure_stages(options: argparse.Namespace) -> dict[str, Any]:
    """Return speed and peak memory of ingest and curate, at a tenth of the rows and at all.

    The rival reads the same file, makes the same texts plain, drops what stands twice and writes
    Parquet: it finds no near duplicate and no contamination.
    """
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in (options.rows // 10, options.rows):
            root = Path(folder) / str(num_rows)
            write_project(root, num_rows)
            for step in ("ingest", "curate", "pandas") if HAS_PANDAS else ("ingest", "curate"):
                command = [sys.executable, __file__, "stage-one", "--path", str(root)]
                answer = subprocess.run(
                    [*command, "--reader", step], stdout=subprocess.PIPE, text=True, check=True
                )
                figures[f"{step}_{num_rows}"] = json.loads(answer.stdout)
    for step in ("ingest", "curate"):
        small, large = (
            figures[f"{step}_{rows}"]["peak_mb"] for rows in (options.rows // 10, options.rows)
        )
        figures[f"{step}_memory_ratio"] = large / small
        figures[f"{step}_bytes_per_row"] = (large - small) * 2**20 / (0.9 * options.rows)
    return figures


def write_project(root: Path, num_rows: int) -> None:
    """Write questions of 20 to 30 words; one in fifty stands twice, one in fifty nearly."""
    root.mkdir(parents=True)
    rng = random.Random(1)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(5000)]
    recent: list[str] = []
    with (root / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            if number % 50 in (48, 49):
                words = rng.choice(recent).split()
                if number % 50 == 49:
                    words[rng.randrange(len(words))] = rng.choice(vocabulary)
                question = " ".join(words)
            else:
                question = " ".join(rng.choices(vocabulary, k=rng.randint(20, 30)))
                recent = [*recent[-40:], question]
            row = {"id": str(number), "question": question, "answer": str(len(question))}
            file.write(json.dumps(row) + "\n")
    source: dict[str, Any] = {"type": "json_lines", "name": "rows", "path": "rows.jsonl"}
    source |= {"images": None, "suite": None, "family": "text", "columns": {}, "share": 1.0}
    held_out = {**source, "name": "held_out", "path": "suite.jsonl", "suite": "held_out"}
    lines = (root / "rows.jsonl").open(encoding="utf-8")
    (root / "suite.jsonl").write_text("".join(itertools.islice(lines, 100)), encoding="utf-8")
    params = Params().model_dump(mode="json")
    params["ingest"]["sources"] = [source, held_out]
    params["evaluate"]["suites"] = ["held_out"]
    (root / "params.yaml").write_text(json.dumps(params), encoding="utf-8")


def stage_one(options: argparse.Namespace) -> dict[str, Any]:
    """Run one stage, or its rival, in this process."""
    start = time.process_time()
    if options.reader == "pandas":
        num_rows = curate_with_pandas(options.path)
        left_out: dict[str, int] = {}
    else:
        # Stages are no part of the installed package.
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        module = importlib.import_module(f"stages.{options.reader}")
        report = module.STAGE.execute(module.run, root=options.path)
        num_rows, left_out = report.num_in, dict(report.left_out)
    seconds = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows_per_second": num_rows / seconds, "peak_mb": peak_mb, "left_out": left_out}


def curate_with_pandas(root: Path) -> int:
    """Do with a data frame what it can do, and return the number of rows."""
    import pandas as pd

    frame = pd.read_json(root / "rows.jsonl", lines=True, dtype=str)
    num_rows = len(frame)
    for name in ("question", "answer"):
        frame[name] = frame[name].str.normalize("NFC").str.split().str.join(" ")
    frame = frame[frame["question"].ne("") & frame["answer"].ne("")]
    frame = frame.drop_duplicates(["question", "answer"]).sort_values("question")
    frame.to_parquet(root / "pandas.parquet")
    return num_rows


COMMANDS = {
    "planted": measure_planted,
    "speed": measure_speed,
    "readers": measure_readers,
    "stages": measure_stages,
    "read-one": read_one,
    "stage-one": stage_one,
}


def main() -> None:
    """Run one measurement, or all of them."""
    parser = argparse.ArgumentParser(
        description="Measure curation.", epilog="example: python benchmarks/curation.py planted"
    )
    parser.add_argument("command", choices=(*COMMANDS, "all"))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--reader", default="ours")
    options = parser.parse_args()
    if options.command != "all":
        print(json.dumps(COMMANDS[options.command](options)))
        return
    figures = {}
    for name in ("planted", "speed", "readers", "stages"):
        figures[name] = COMMANDS[name](options)
        print(json.dumps({name: figures[name]}), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
