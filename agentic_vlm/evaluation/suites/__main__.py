"""List the benchmarks, or look a file of one through."""

import argparse
import sys
from pathlib import Path

from agentic_vlm.errors import AgenticError
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.check import check_file, guess_suite
from agentic_vlm.evaluation.suites.paper import paper_table


def main(argv: list[str] | None = None) -> int:
    """Print the list or the findings; the exit status is 1 where the file cannot be read."""
    arguments = _parser().parse_args(argv)
    if arguments.command is None:
        _print_list()
        return 0
    if arguments.command == "show":
        _print_suite(arguments.suite)
        return 0
    try:
        path = Path(arguments.file)
        suite = SUITES[arguments.suite] if arguments.suite else guess_suite(path, SUITES.values())
        found = check_file(suite, path, limit=arguments.limit)
    except AgenticError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(found.lines()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.evaluation.suites",
        description="List the benchmarks, show one, or check a downloaded file of one.",
        epilog="example: python -m agentic_vlm.evaluation.suites check VStarBench.tsv",
    )
    commands = parser.add_subparsers(dest="command")
    check = commands.add_parser("check", help="read every row and picture of a file")
    check.add_argument("file", help="file or folder, as published")
    check.add_argument("--suite", choices=list(SUITES), help="which benchmark it is")
    check.add_argument("--limit", type=int, help="look at so many items only")
    show = commands.add_parser("show", help="prompt, rule and the paper's numbers of a benchmark")
    show.add_argument("suite", choices=list(SUITES))
    return parser


def _print_list() -> None:
    width = max(map(len, SUITES))
    for suite in SUITES.values():
        size = "?" if suite.size is None else str(suite.size)
        paper = _paper_figure(suite.table, suite.column)
        print(f"{suite.name:{width}}  {size:>6} items  DeepEyesV2 {paper:>5}  {suite.title}")


def _paper_figure(table: str, column: str) -> str:
    model = "DeepEyesV2, all" if table == "realx" else "DeepEyesV2"
    figure = paper_table(table).figure(model, column)
    return "-" if figure is None else f"{figure:g}"


def _print_suite(name: str) -> None:
    suite = SUITES[name]
    print(f"{suite.title} ({suite.name})")
    print(f"  prompt: {suite.prompt}")
    print(f"  rule: {suite.rule}")
    print(f"  where mode strict differs: {suite.deviation or 'nowhere'}")
    print(f"  tools in agent mode: {', '.join(suite.tools)}")
    for known in suite.files:
        print(f"  file: {known.name}, md5 {known.md5} {known.note}".rstrip())
    table = paper_table(suite.table)
    for model in table.rows:
        figure = table.figure(model, suite.column)
        if figure is not None:
            print(f"  paper: {model} {figure:g}")


if __name__ == "__main__":
    sys.exit(main())
