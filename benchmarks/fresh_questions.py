"""How checkpoints answer questions that no stage of this project has seen, and how they differ.

    python benchmarks/fresh_questions.py --world-seed 7          # another world
    python benchmarks/fresh_questions.py --suite dev --tool 300 --direct 200
    python benchmarks/fresh_questions.py --model rl=A --model rl=B --model rejection=C

The stages `ingest` and `evaluate` run in a folder of their own: with another seed of the world, or
with other questions about this one (`--suite` draws them; settings are chosen on `dev`). A model
named twice stands for its seeds, which are averaged by question. Intervals are of 95 %, over
questions. The last line is one JSON object.
"""

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import finish

from agentic_vlm.analysis.estimates import SampleKey, average_samples, estimate_mean
from agentic_vlm.evaluation.summary import column_of
from agentic_vlm.params import WorldSource, load_params
from agentic_vlm.schema import Need, ScoredAnswer, Verdict
from agentic_vlm.store import iter_records

ROOT = Path(__file__).resolve().parents[1]
# Flows and stages are no part of the installed package.
sys.path.insert(0, str(ROOT))

from flows.params import write_params  # noqa: E402
from stages import evaluate, ingest  # noqa: E402

NUM_BOOTSTRAP = 2000

Columns = dict[str, list[list[ScoredAnswer]]]
"""Answers by model and mode, one list for each checkpoint."""


def prepare(root: Path, options: argparse.Namespace, models: Sequence[str]) -> None:
    """Write the questions into a folder of their own."""
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    sources = load_params(ROOT / "params.yaml").ingest.sources
    world = next(source for source in sources if isinstance(source, WorldSource))
    families = list(type(world.num_train).model_fields)
    changed = world.model_dump(mode="json") | {
        "seed": world.seed if options.world_seed is None else options.world_seed,
        "suite": options.suite,
        "num_train": dict.fromkeys(families, 1),
        "num_eval_tool": dict.fromkeys(families, options.tool),
        "num_eval_direct": dict.fromkeys(families, options.direct),
    }
    modes = {name: ["direct", "agent"] if name == "base-0" else ["agent"] for name in models}
    overrides = [
        f"ingest.sources={json.dumps([changed])}",
        f"evaluate.suites={json.dumps([options.suite])}",
        f"evaluate.modes={json.dumps(modes)}",
        f"evaluate.temperature={options.temperature}",
    ]
    write_params(root / "params.yaml", overrides=overrides)
    ingest.STAGE.execute(ingest.run, root=root)


def ask(root: Path, named: Mapping[str, Sequence[Path]]) -> Columns:
    """Return the answers of every checkpoint."""
    columns: Columns = {}
    for name, folders in named.items():
        for number, folder in enumerate(folders):
            model = f"{name}-{number}"
            shutil.copytree(folder, root / "models" / model)
            evaluate.STAGE.execute(evaluate.run, root=root, variant=model)
            found: Columns = {}
            for score in iter_records(root / f"data/scores/{model}/scores", ScoredAnswer):
                column = column_of(score).replace(model, name, 1)
                found.setdefault(column, [[]])[0].append(score)
            for column, (scores,) in found.items():
                columns.setdefault(column, []).append(scores)
    return columns


def average(checkpoints: Sequence[Sequence[ScoredAnswer]], need: Need) -> dict[SampleKey, float]:
    """Return how often each question was answered right, over checkpoints."""
    return average_samples(
        {
            (score.suite, score.sample_id): float(score.verdict == Verdict.CORRECT)
            for score in scores
            if score.need == need and score.verdict != Verdict.UNGRADED
        }
        for scores in checkpoints
    )


def compare(columns: Columns) -> dict[str, Any]:
    """Return accuracies and paired differences in points, by need."""
    figures: dict[str, Any] = {"accuracy": {}, "difference": {}}
    for need in (Need.TOOL, Need.DIRECT):
        rates = {name: average(scores, need) for name, scores in columns.items()}
        for name, by_question in rates.items():
            row = figures["accuracy"].setdefault(name, {"checkpoints": len(columns[name])})
            row[need.value] = points(list(by_question.values()))
        for second, first in itertools.combinations(rates, 2):
            shared = rates[first].keys() & rates[second].keys()
            gaps = [rates[first][key] - rates[second][key] for key in sorted(shared)]
            row = figures["difference"].setdefault(f"{first} - {second}", {})
            row[need.value] = points(gaps)
    return figures


def points(values: Sequence[float]) -> dict[str, float] | None:
    """Return the mean with its interval, in points."""
    found = estimate_mean(values, num_bootstrap=NUM_BOOTSTRAP, seed=0)
    if found is None:
        return None
    ends = {name: round(100 * getattr(found, name), 1) for name in ("mean", "low", "high")}
    return {**ends, "n": found.n}


def read_models(given: Sequence[str]) -> dict[str, list[Path]]:
    """Return checkpoint folders by name; those of this project where none is given."""
    named: dict[str, list[Path]] = {}
    for text in given or [f"{name}={ROOT / 'models' / name}" for name in ("base", "sft", "rl")]:
        name, _, folder = text.partition("=")
        if not Path(folder, "config.json").is_file():
            sys.exit(
                f"--model {text}: no checkpoint there\n  fix: NAME=FOLDER, such as rl=models/rl"
            )
        named.setdefault(name, []).append(Path(folder))
    return named


def main() -> int:
    """Ask, compare and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world-seed", type=int, help="default: that of params.yaml")
    parser.add_argument("--suite", default="dev", help="name that the questions are drawn from")
    parser.add_argument("--tool", type=int, default=168, help="tool questions per family")
    parser.add_argument("--direct", type=int, default=126, help="direct questions per family")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    named = read_models(options.model)
    models = [f"{name}-{number}" for name, some in named.items() for number in range(len(some))]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options, models)
        figures = compare(ask(Path(folder), named))
    asked = {name: getattr(options, name) for name in ("world_seed", "suite", "temperature")}
    finish({**asked, **figures}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
