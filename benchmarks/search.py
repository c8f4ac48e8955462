"""Search engines compared: quality and speed of text search, and look-up of changed pictures.

    python benchmarks/search.py text --xquad PATH --passages 100000
    python benchmarks/search.py speed --xquad PATH --passages 1000000
    python benchmarks/search.py pictures --math-vision FOLDER --gallery 10000

PATH is the published `xquad.en.json`, FOLDER holds the pictures of MATH-Vision; both may stand in
XQUAD and MATH_VISION instead. Peers are optional: `pip install 'agentic-vlm[bench]'`; a missing one
is named and left out. Every line printed is one JSON object.
"""

import argparse
import os
from pathlib import Path

from search_pictures import measure_pictures
from search_text import measure_quality, measure_speed
from text_engines import ENGINES


def main() -> None:
    """Run one comparison."""
    parser = argparse.ArgumentParser(
        description="Compare search engines.",
        epilog="example: python benchmarks/search.py text --xquad xquad.en.json --passages 10000",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("text", "speed"):
        one = commands.add_parser(name)
        xquad = os.environ.get("XQUAD")
        one.add_argument("--xquad", type=Path, default=xquad, required=xquad is None)
        one.add_argument("--passages", type=int, default=10_000)
        one.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
        one.add_argument("--every", type=int, default=1, help="take every n-th question")
        one.add_argument("--queries", type=int, default=500)
        one.add_argument("--max-minutes", type=float, default=10, help="per step of an engine")
        one.add_argument("--max-gb", type=float, default=12, help="memory of an engine, GB")
    pictures = commands.add_parser("pictures")
    folder = os.environ.get("MATH_VISION")
    pictures.add_argument("--math-vision", type=Path, default=folder, required=folder is None)
    pictures.add_argument("--gallery", type=int, default=10_000)
    pictures.add_argument("--every", type=int, default=1, help="take every n-th picture")
    pictures.add_argument("--blocks", type=int, default=1, help="tell what is known this often")
    pictures.add_argument("--unknown", type=int, default=100)
    arguments = parser.parse_args()
    measures = {"text": measure_quality, "speed": measure_speed, "pictures": measure_pictures}
    measures[arguments.command](arguments)


if __name__ == "__main__":
    main()
