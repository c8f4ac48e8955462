"""Build a corpus and ask it: `python -m agentic_vlm.search query "Velmora founded"`."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from agentic_vlm.errors import AgenticError, SearchUnavailable
from agentic_vlm.params import SearchParams, load_params
from agentic_vlm.search import ImageHit, TextHit, build, build_index
from agentic_vlm.search.answers import AnswerStore
from agentic_vlm.search.dense import DENSE_FOLDER, TransformersEncoder, embed_corpus
from agentic_vlm.search.documents import Document, PictureDocument, read_documents
from agentic_vlm.search.mmsearch import import_mmsearch
from agentic_vlm.vision import decode_image

_PARAMS = Path("params.yaml")
_CORPUS = Path("data/corpus")
_ANSWERS = Path("data/search_answers")


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 1 where it failed."""
    arguments = _parser().parse_args(argv)
    try:
        _COMMANDS[arguments.command](arguments)
    except (AgenticError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.search",
        description="Build a corpus, search it as the tools do, and keep stored answers.",
        epilog='example: python -m agentic_vlm.search query "Velmora founded" --corpus data/corpus',
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("query", "the text"), ("picture", "the file of the picture")):
        ask = commands.add_parser(name, help=f"search by {name}")
        ask.add_argument("what", help=what)
        ask.add_argument("--corpus", type=Path, default=_CORPUS, help="corpus folder")
        ask.add_argument("--hits", type=int, default=5, help="most hits")
        ask.add_argument("--json", action="store_true", help="one JSON object per hit")
        ask.add_argument("--params", type=Path, help="ask the engine of this params.yaml")
    record = commands.add_parser("record", help="ask for what is not stored, and store it")
    record.add_argument("queries", type=Path, help="text file with a query per line")
    record.add_argument("--pictures", type=Path, nargs="*", default=[], help="files to search for")
    record.add_argument("--params", type=Path, default=_PARAMS, help="whose engine to ask")
    record.add_argument("--corpus", type=Path, default=_CORPUS, help="corpus folder")
    make = commands.add_parser("build", help="build a corpus from files")
    make.add_argument("files", type=Path, nargs="+", help=".jsonl, .parquet or .json (SQuAD)")
    make.add_argument("--images", type=Path, help="folder of the pictures that rows name")
    make.add_argument("--corpus", type=Path, default=_CORPUS, help="folder to write")
    make.add_argument(
        "--no-crops", action="store_true", help="do not let pictures be found by a part of them"
    )
    embed = commands.add_parser("embed", help="add vectors of meaning to a corpus")
    embed.add_argument("--model", required=True, help="folder of a sentence or CLIP-type model")
    embed.add_argument("--corpus", type=Path, default=_CORPUS, help="corpus folder")
    cache = commands.add_parser("import-mmsearch", help="store the image cache of MMSearch-R1")
    cache.add_argument("cache", type=Path, help="the JSON file of the cache")
    cache.add_argument("rows", type=Path, help="the Parquet file whose pictures it is about")
    cache.add_argument("images", type=Path, help="the folder of its pictures")
    cache.add_argument("--answers", type=Path, default=_ANSWERS, help="folder of stored answers")
    compact = commands.add_parser("compact", help="put stored answers into one file")
    compact.add_argument("--answers", type=Path, default=_ANSWERS, help="folder of stored answers")
    return parser


def _ask(arguments: argparse.Namespace) -> None:
    hits: Sequence[TextHit | ImageHit] = asyncio.run(_search(arguments))
    for number, hit in enumerate(hits, start=1):
        print(json.dumps(_row(hit)) if arguments.json else f"{number}. {_line(hit)}")
    if not hits and not arguments.json:
        print("nothing found")


async def _search(arguments: argparse.Namespace) -> list[TextHit] | list[ImageHit]:
    path = arguments.params
    params = SearchParams(type="local") if path is None else load_params(path).search
    search = build(params, corpus=arguments.corpus)
    try:
        if arguments.command == "query":
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


def _record(arguments: argparse.Namespace) -> None:
    lines = arguments.queries.read_text(encoding="utf-8").splitlines()
    queries = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    params = load_params(arguments.params).search
    params = params.model_copy(update={"recording": "record_missing"})
    folder = arguments.corpus.parent / params.answers
    before = AnswerStore(folder).count()
    outages = asyncio.run(_record_all(params, arguments, queries))
    num_new = AnswerStore(folder).count() - before
    num = len(queries) + len(arguments.pictures)
    print(f"{num} searches: {num_new} new answers in {folder}, {len(outages)} failed")
    if outages:
        raise outages[0]


async def _record_all(
    params: SearchParams, arguments: argparse.Namespace, queries: Sequence[str]
) -> list[SearchUnavailable]:
    """Ask for everything and return the outages."""
    search = build(params, corpus=arguments.corpus)
    # The deadline of a search begins when it is asked for, so no more are than can be on their way.
    gate = asyncio.Semaphore(params.live.max_concurrent)
    outages: list[SearchUnavailable] = []

    async def ask(what: str | Path) -> None:
        async with gate:
            try:
                if isinstance(what, str):
                    await search.search_text(what, num_hits=params.num_text_hits)
                else:
                    image = decode_image(what.read_bytes(), where=str(what))
                    await search.search_image(image, num_hits=params.num_image_hits)
            except SearchUnavailable as error:
                outages.append(error)

    try:
        await asyncio.gather(*(ask(what) for what in (*queries, *arguments.pictures)))
    finally:
        await search.close()
    return outages


def _build(arguments: argparse.Namespace) -> None:
    pages: list[Document] = []
    pictures: list[PictureDocument] = []
    for path in arguments.files:
        for row in read_documents(path, images=arguments.images):
            if isinstance(row, Document):
                pages.append(row)
            else:
                pictures.append(row)
    build_index(pages, pictures, arguments.corpus, finds_crops=not arguments.no_crops)
    print(f"{len(pages)} pages and {len(pictures)} pictures -> {arguments.corpus}")


def _embed(arguments: argparse.Namespace) -> None:
    encoder = TransformersEncoder(Path(arguments.model))
    count = embed_corpus(arguments.corpus, encoder, model=arguments.model)
    print(f"{count} vectors -> {arguments.corpus / DENSE_FOLDER}")


def _import(arguments: argparse.Namespace) -> None:
    store = AnswerStore(arguments.answers)
    done = import_mmsearch(arguments.cache, arguments.rows, arguments.images, store)
    print(
        f"{done.num_rows} rows: {done.num_answers} answers stored, {done.num_without_answer} rows "
        f"not in the cache, {done.num_dropped_hits} hits without their picture left out"
    )


def _compact(arguments: argparse.Namespace) -> None:
    print(f"{AnswerStore(arguments.answers).compact()} answers in {arguments.answers}")


_COMMANDS = {
    "record": _record,
    "query": _ask,
    "picture": _ask,
    "build": _build,
    "embed": _embed,
    "import-mmsearch": _import,
    "compact": _compact,
}


if __name__ == "__main__":
    sys.exit(main())
