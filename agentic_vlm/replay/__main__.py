"""`python -m agentic_vlm.replay SLICE [TRAJECTORY...]`: run stored calls again and compare."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

from agentic_vlm.agent.runtime import open_kit
from agentic_vlm.errors import AgenticError, RecordError
from agentic_vlm.params import load_params
from agentic_vlm.progress import Progress
from agentic_vlm.replay.compare import Outcome
from agentic_vlm.replay.run import Replayed, replay_all
from agentic_vlm.slices import SLICES, Entry, Slice, open_slice

_MAX_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay and return the exit status: 1 where something is different or could not be run."""
    options = _parser().parse_args(arguments)
    try:
        chosen = open_slice(options.slice, options.root)
        entries = _choose(chosen, options)
        found = asyncio.run(_run(entries, chosen, options.root))
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.json:
        write_lines(found, options.json)
    report(found, sys.stdout)
    bad = (Outcome.DIFFERENT, Outcome.UNAVAILABLE)
    return 1 if any(one.outcome in bad for one in found) else 0


def report(found: Sequence[Replayed], out: TextIO) -> None:
    """Write counts by outcome, then the trajectories that are not equal."""
    counts = Counter(one.outcome for one in found)
    num_calls = sum(one.num_calls for one in found)
    out.write(f"{len(found)} trajectories, {num_calls} calls run again\n")
    for outcome in Outcome:
        out.write(f"  {outcome:12} {counts[outcome]}\n")
    unequal = [one for one in found if one.outcome is not Outcome.EQUAL]
    for one in unequal[:_MAX_SHOWN]:
        out.write(f"{one.trajectory_id}: {one.outcome}\n")
        for difference in one.differences:
            out.write(f"  {difference.where}: {difference.outcome}: {difference.detail}\n")
    if len(unequal) > _MAX_SHOWN:
        out.write(f"and {len(unequal) - _MAX_SHOWN} more; --json FILE has all of them\n")


def write_lines(found: Sequence[Replayed], path: Path) -> None:
    """Write one JSON line per trajectory."""
    with path.open("w", encoding="utf-8") as out:
        for one in found:
            line = {
                "trajectory_id": one.trajectory_id,
                "outcome": one.outcome.value,
                "num_calls": one.num_calls,
                "differences": [difference._asdict() for difference in one.differences],
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def _choose(chosen: Slice, options: argparse.Namespace) -> list[Entry]:
    wanted = set(options.trajectory)
    rows = (
        entry
        for entry in chosen.iter_entries()
        if not wanted or entry.trajectory.trajectory_id in wanted
    )
    entries = list(islice(rows, options.limit))
    missing = wanted - {entry.trajectory.trajectory_id for entry in entries}
    if missing and options.limit is None:
        names = ", ".join(sorted(missing))
        fix = f"list them with: python -m agentic_vlm.view {options.slice}"
        raise RecordError(f"slice {options.slice}", f"no trajectory {names}", fix)
    return entries


async def _run(entries: list[Entry], chosen: Slice, root: Path) -> list[Replayed]:
    params = load_params(root / "params.yaml")
    async with open_kit(params, corpus=root / "data" / "corpus") as kit:
        with Progress("trajectories", total=len(entries)) as progress:
            results = replay_all(
                entries,
                kit=kit,
                pictures=chosen.pictures,
                grading=params.grading,
                on_done=progress.advance,
            )
            return [one async for one in results]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.replay",
        description="Run the calls of stored trajectories again, with the tools of params.yaml, "
        "and compare pictures, actions, observations and verdicts with what is stored.",
        epilog="Example: python -m agentic_vlm.replay rollouts --limit 1000 --json replay.jsonl",
    )
    parser.add_argument("slice", choices=SLICES, help="whose trajectories")
    parser.add_argument("trajectory", nargs="*", help="their ids; default: all")
    parser.add_argument("--limit", type=int, help="at most so many")
    parser.add_argument("--json", type=Path, help="write one JSON line per trajectory")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
