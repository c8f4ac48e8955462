"""`python -m agentic_vlm.view SLICE`: write trajectories as one page to open in a browser."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer
from tqdm import tqdm

from agentic_vlm.errors import AgenticError, ArtifactMissing
from agentic_vlm.slices import SLICES, Entry, Slice, open_slice
from agentic_vlm.view.entries import SpellTokens
from agentic_vlm.view.page import write_page


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and return the exit status."""
    options = _parser().parse_args(arguments)
    out = options.out or Path(f"{options.slice}.html")
    try:
        chosen = open_slice(options.slice, options.root)
        spell = open_speller(options.root / options.tokenizer) if options.tokens else None
        counts = write_page(
            out,
            tqdm(_iter_chosen(chosen, options), unit=" trajectories", disable=None),
            chosen.pictures,
            title=options.title or f"{options.slice} of {options.root.resolve().name}",
            spell=spell,
        )
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    missing = f", {counts.num_missing} pictures missing" if counts.num_missing else ""
    sys.stdout.write(
        f"{out}: {counts.num_trajectories} trajectories, {counts.num_pictures} pictures{missing}, "
        f"{out.stat().st_size / 1e6:.1f} MB\n"
    )
    return 0


def _iter_chosen(chosen: Slice, options: argparse.Namespace) -> Iterator[Entry]:
    found = (
        entry
        for entry in chosen.iter_entries()
        if (not options.model or entry.model in options.model)
        and (not options.family or (entry.sample and entry.sample.family in options.family))
        and (options.step is None or (entry.rollout and entry.rollout.step == options.step))
        and (not options.sample or entry.trajectory.sample_id in options.sample)
    )
    return islice(found, options.limit)


def open_speller(folder: Path) -> SpellTokens:
    """Return what spells token ids, from the tokenizer of a checkpoint.

    Raises:
        ArtifactMissing: the folder has no tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ArtifactMissing(str(path), "no tokenizer here", "name the checkpoint: --tokenizer")
    tokenizer = Tokenizer.from_file(str(path))
    return lambda ids: [tokenizer.decode([one], skip_special_tokens=False) for one in ids]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.view",
        description="Write a slice of the trajectories as one HTML file: filter, sort, step "
        "through turns, see crops on the original, compare models on one sample. The file needs "
        "no server and no network, and can be passed on as it is.",
        epilog="Example: python -m agentic_vlm.view scores --model sft rl --out scores.html",
    )
    parser.add_argument("slice", choices=SLICES, help="whose trajectories")
    parser.add_argument("--out", type=Path, help="HTML file; default: SLICE.html")
    parser.add_argument("--model", nargs="+", default=(), help="base, base_direct, sft, rl")
    parser.add_argument("--family", nargs="+", default=(), help="such as perception")
    parser.add_argument("--sample", nargs="+", default=(), help="sample ids")
    parser.add_argument("--step", type=int, help="rollouts of this step of RL")
    parser.add_argument("--limit", type=int, help="at most so many")
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument(
        "--tokens", action="store_true", help="tokens of rollouts with their log-probabilities"
    )
    parser.add_argument(
        "--tokenizer", type=Path, default=Path("models/base"), help="default: models/base"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
