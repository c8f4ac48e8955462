"""Answer a benchmark's file with a model, score it again, compare two runs, export one."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from agentic_vlm.errors import AgenticError, ParamsError
from agentic_vlm.evaluation.benchmark import score_items
from agentic_vlm.evaluation.control_runs import run_all_controls
from agentic_vlm.evaluation.controls.catalogue import CONTROLS, NO_CONTROL
from agentic_vlm.evaluation.controls.efficiency import measure_efficiency
from agentic_vlm.evaluation.controls.gains import split_gains
from agentic_vlm.evaluation.controls.tables import measure_text
from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.inspect_log import write_inspect_log
from agentic_vlm.evaluation.marking import modes_told
from agentic_vlm.evaluation.metrics import compute_difference
from agentic_vlm.evaluation.repeats import mean_over_attempts, pass_at_k, spread_of_seeds
from agentic_vlm.evaluation.run_command import run_benchmark
from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.runs import (
    iter_answers,
    iter_outages,
    read_card,
    read_samples,
    read_scores,
    write_scores,
)
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.tables import coverage_line, family_tables, figure_lines, run_title
from agentic_vlm.grading import Mode
from agentic_vlm.grading.judges import open_judge
from agentic_vlm.params import load_params
from agentic_vlm.schema import ScoredAnswer
from agentic_vlm.store import ImageStore


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command; return 0, or 1 with two lines that say what to do."""
    arguments = _parser().parse_args(argv)
    commands = {
        "run": lambda: run_benchmark(arguments),
        "rescore": lambda: _rescore(arguments),
        "show": lambda: _show(arguments.folders),
        "controls": lambda: _controls(arguments),
        "compare": lambda: _compare(arguments.first, arguments.second),
        "export": lambda: _export(arguments),
    }
    try:
        commands[arguments.command]()
        if arguments.command in ("run", "rescore"):
            _show([arguments.out if arguments.command == "run" else arguments.folder])
    except AgenticError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _figures(suite: str, scores: Sequence[ScoredAnswer], num_attempts: int) -> list[Figure]:
    figures = SUITES[suite].aggregate(scores)
    if num_attempts > 1:
        ks = sorted({1, num_attempts})
        figures += [mean_over_attempts(scores), *(pass_at_k(scores, k) for k in ks)]
    return figures


def _rescore(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder
    card, samples = read_card(folder), read_samples(folder)
    params = load_params(arguments.root / "params.yaml")
    before = {row.trajectory_id: row.verdict for row in read_scores(folder)}

    async def score() -> list[ScoredAnswer]:
        async with open_judge(params.grading, root=arguments.root) as judge:
            return await score_items(
                SUITES[card.suite],
                [*iter_answers(folder), *iter_outages(folder)],
                samples,
                model=card.model,
                judge=judge,
                params=params.grading,
                mode=Mode(arguments.rules),
            )

    scores = asyncio.run(score())
    changed = sum(before.get(row.trajectory_id, row.verdict) is not row.verdict for row in scores)
    write_scores(
        folder,
        samples=samples,
        scores=scores,
        figures=_figures(card.suite, scores, card.num_attempts),
    )
    print(f"{len(scores)} answers graded again; {changed} verdicts changed")


def _show(folders: Sequence[Path]) -> None:
    runs: dict[str, dict[str, tuple[int, list[Figure]]]] = {}
    for folder in folders:
        card, scores = read_card(folder), read_scores(folder)
        suite, num_items = SUITES[card.suite], len(read_samples(folder))
        print(
            f"{suite.title}, {card.model}: {coverage_line(suite, num_items)}; {modes_told(scores)}"
        )
        for mode in card.modes:
            own = [score for score in scores if score.mode == mode]
            figures = _figures(card.suite, own, card.num_attempts)
            print(f" {run_title(card, mode).removeprefix(f'{card.model}, ')}")
            print("\n".join(f"  {line}" for line in figure_lines(figures)))
            if card.num_attempts > 1:
                print(f"  {_seeds_line(own)}")
            title = run_title(card, mode)
            # Runs that differ in what a title does not say, such as the seed, keep a row each.
            if card.suite in runs.get(title, {}):
                title = f"{title}, {folder.name}"
            runs.setdefault(title, {})[card.suite] = (num_items, figures)
        _show_controls(folder, scores)
    print(f"\n{family_tables(runs)}")


def _seeds_line(scores: Sequence[ScoredAnswer]) -> str:
    """Return the accuracy of each attempt: attempts of a run differ by their seed."""
    seeds = spread_of_seeds(scores)
    told = ", ".join(f"{100 * mean:.1f}" for mean in seeds.means)
    if seeds.mean is None or seeds.deviation is None:
        return f"by seed: {told or '-'}"
    return f"by seed: {told}; mean {100 * seeds.mean:.1f}, deviation {100 * seeds.deviation:.1f}"


def _show_controls(folder: Path, scores: Sequence[ScoredAnswer]) -> None:
    with_tools = [score for score in scores if score.mode == RunMode.AGENT]
    for mode in (RunMode.DIRECT, RunMode.THINK):
        without = [score for score in scores if score.mode == mode]
        if with_tools and without:
            print(f" what tools add and harm, against {mode}")
            lines = figure_lines(split_gains(with_tools, without).figures())
            print("\n".join(f"  {line}" for line in lines))
    verdicts = {score.trajectory_id: score.verdict for score in scores}
    rows = [
        row.model_copy(update={"verdict": verdicts.get(row.trajectory_id)})
        for row in iter_answers(folder)
        if row.mode == "agent"
    ]
    if rows:
        print(" what an answer costs")
        for name, found in measure_efficiency(rows).items():
            print(f"  {name}: {measure_text(found)}")


def _controls(arguments: argparse.Namespace) -> None:
    page = run_all_controls(
        arguments.root,
        checkpoint=arguments.model or arguments.root / "models" / "rl",
        suite=arguments.suite,
        file=arguments.file,
        folder=arguments.out,
        names=arguments.only or CONTROLS,
        limit=arguments.limit,
        rules=Mode(arguments.rules),
    )
    print(page)


def _compare(first: Path, second: Path) -> None:
    cards = read_card(first), read_card(second)
    if cards[0].suite != cards[1].suite:
        what = f"{cards[0].suite} and {cards[1].suite} are different benchmarks"
        raise ParamsError(f"{first}, {second}", what, "compare two runs over one benchmark")
    for mode in [mode for mode in cards[0].modes if mode in cards[1].modes]:
        ours, theirs = (
            [score for score in read_scores(folder) if score.mode == mode]
            for folder in (first, second)
        )
        found = compute_difference(ours, theirs, num_bootstrap=2000, seed=0)
        if found.mean is None or found.low is None or found.high is None:
            print(f"{mode}: no question has a verdict in both")
            continue
        print(
            f"{mode}: {100 * found.mean:+.1f} points ({100 * found.low:+.1f} to "
            f"{100 * found.high:+.1f}), n={found.n}, only first {found.num_gained}, "
            f"only second {found.num_lost}, McNemar p={found.p:.3g}"
        )


def _export(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder
    card, scores = read_card(folder), read_scores(folder)
    write_inspect_log(
        arguments.to,
        card=card,
        samples=read_samples(folder),
        trajectories=list(iter_answers(folder)),
        scores=scores,
        figures=_figures(card.suite, scores, card.num_attempts),
        pictures=ImageStore.open(folder / "images"),
    )
    print(f"inspect view --log-dir {arguments.to.parent}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.evaluation",
        description="Evaluate a model on a benchmark's file, outside of the pipeline.",
        epilog="example: python -m agentic_vlm.evaluation run vstar VStarBench.tsv --out out",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="answer every item; a killed run goes on")
    run.add_argument("suite", choices=list(SUITES))
    run.add_argument("file", type=Path, help="file or folder, as published")
    run.add_argument("--out", type=Path, required=True, metavar="DIR")
    run.add_argument("--model", type=Path, metavar="DIR", help="default models/rl")
    run.add_argument("--policy-url", metavar="URL", help="an OpenAI-compatible server instead")
    run.add_argument("--policy-name", default="", help="name of the model there")
    run.add_argument("--modes", nargs="+", choices=list(RunMode), default=["agent"])
    run.add_argument("--attempts", type=int, default=1, metavar="K", help="answers per item")
    run.add_argument("--temperature", type=float, default=0.0)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--tools", nargs="+", choices=("python", "search", "image_search"))
    run.add_argument("--limit", type=int, metavar="N", help="items asked at most")
    run.add_argument(
        "--control",
        choices=(NO_CONTROL, *CONTROLS),
        default=NO_CONTROL,
        help="change the tools in a known way; default: %(default)s",
    )
    controls = commands.add_parser(
        "controls", help="with tools, without, and under every change of tools: one page"
    )
    controls.add_argument("suite", choices=list(SUITES))
    controls.add_argument("file", type=Path, help="file or folder, as published")
    controls.add_argument("--out", type=Path, required=True, metavar="DIR")
    controls.add_argument("--model", type=Path, metavar="DIR", help="default models/rl")
    controls.add_argument("--limit", type=int, metavar="N", help="items asked at most")
    controls.add_argument("--only", nargs="+", choices=CONTROLS, help="default: all")
    rescore = commands.add_parser("rescore", help="grade the answers again; no model is asked")
    rescore.add_argument("folder", type=Path)
    for command in (run, controls, rescore):
        command.add_argument("--root", type=Path, default=Path(), help="root of the project")
        command.add_argument(
            "--rules",
            choices=[mode.value for mode in Mode],
            default=Mode.OFFICIAL.value,
            help="whose rules grade a published benchmark",
        )
    show = commands.add_parser("show", help="figures of runs, the paper's beside them")
    show.add_argument("folders", type=Path, nargs="+")
    compare = commands.add_parser("compare", help="two runs over one benchmark, paired")
    compare.add_argument("first", type=Path)
    compare.add_argument("second", type=Path)
    export = commands.add_parser("export", help="a log for `inspect view`")
    export.add_argument("folder", type=Path)
    export.add_argument("--to", type=Path, required=True, metavar="FILE.eval")
    return parser


if __name__ == "__main__":
    sys.exit(main())
