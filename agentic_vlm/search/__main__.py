"""Ask the search engine by hand: `python -m agentic_vlm.search query "Velmora founded"`."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from agentic_vlm.errors import AgenticError
from agentic_vlm.params import SearchParams
from agentic_vlm.search import ImageHit, TextHit, build


def main(argv: list[str] | None = None) -> int:
    """Run one search and print its hits; the exit status is 1 where the engine failed."""
    arguments = _parser().parse_args(argv)
    hits: Sequence[TextHit | ImageHit]
    try:
        hits = asyncio.run(_search(arguments))
    except (AgenticError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for number, hit in enumerate(hits, start=1):
        print(json.dumps(_row(hit)) if arguments.json else f"{number}. {_line(hit)}")
    if not hits and not arguments.json:
        print("nothing found")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.search",
        description="Search the corpus as the tools do.",
        epilog='example: python -m agentic_vlm.search query "Velmora founded" --corpus data/corpus',
    )
    parser.add_argument("kind", choices=["query", "picture"], help="what to search by")
    parser.add_argument("what", help="the text, or the file of the picture")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"), help="corpus folder")
    parser.add_argument("--hits", type=int, default=5, help="most hits")
    parser.add_argument("--json", action="store_true", help="one JSON object per hit")
    return parser


async def _search(arguments: argparse.Namespace) -> list[TextHit] | list[ImageHit]:
    search = build(SearchParams(type="local"), corpus=arguments.corpus)
    try:
        if arguments.kind == "query":
            return await search.search_text(arguments.what, num_hits=arguments.hits)
        with Image.open(arguments.what) as image:
            return await search.search_image(image, num_hits=arguments.hits)
    finally:
        await search.close()


def _row(hit: TextHit | ImageHit) -> dict[str, str]:
    if isinstance(hit, ImageHit):
        return {"title": hit.title, "link": hit.link}
    return asdict(hit)


def _line(hit: TextHit | ImageHit) -> str:
    line = f"{hit.title}  {hit.link}"
    return f"{line}\n   {hit.snippet}" if isinstance(hit, TextHit) else line


if __name__ == "__main__":
    sys.exit(main())
