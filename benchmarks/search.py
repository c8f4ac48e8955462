"""Search engines compared: quality and speed of text search, and look-up of changed pictures.

    python benchmarks/search.py text --xquad PATH --passages 10000
    python benchmarks/search.py speed --xquad PATH --passages 1000000 --engines ours
    python benchmarks/search.py pictures --math-vision FOLDER --gallery 10000

PATH is the published `xquad.en.json`, FOLDER holds the pictures of MATH-Vision; both may stand in
XQUAD and MATH_VISION instead. Peers are optional: `pip install 'agentic-vlm[bench]'`; a missing one
is named and left out. Every line printed is one JSON object.

Distractors are passages of the same length made of pieces of 4 to 9 words of the real paragraphs:
words are as frequent as in real text while no passage answers a question. Titles of distractors are
titles of real articles: a title alone finds nothing.
"""

import argparse
import asyncio
import importlib.util
import io
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from agentic_vlm.params import WorldSource
from agentic_vlm.search import LocalSearch, build_index
from agentic_vlm.search.windows import WindowGallery, open_windows, write_windows
from agentic_vlm.world.source import articles_of, emblem_pages, entities_of

RANKS = 10
MIN_FIT = 0.9


@dataclass(frozen=True, slots=True)
class Passage:
    """A page of the corpus."""

    article_id: str
    title: str
    text: str
    date: str = ""

    @property
    def link(self) -> str:
        """The id, so that a hit names its passage."""
        return self.article_id


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the passage that answers it."""

    text: str
    answer_id: str


def read_xquad(path: Path) -> tuple[list[Passage], list[Question]]:
    """Return the paragraphs and questions of a SQuAD file."""
    passages, questions = [], []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        title = article["title"].replace("_", " ")
        for paragraph in article["paragraphs"]:
            article_id = f"real-{len(passages):05d}"
            passages.append(Passage(article_id, title, paragraph["context"]))
            questions += [Question(qa["question"], article_id) for qa in paragraph["qas"]]
    return passages, questions


def iter_distractors(real: Sequence[Passage], count: int) -> Iterator[Passage]:
    """Yield passages made of pieces of the real ones."""
    rng = random.Random(0)
    words = [passage.text.split() for passage in real]
    for number in range(count):
        length, pieces, size = len(rng.choice(words)), [], 0
        while size < length:
            source = rng.choice(words)
            start = rng.randrange(len(source))
            piece = source[start : start + rng.randint(4, 9)]
            pieces += piece
            size += len(piece)
        yield Passage(f"made-{number:07d}", rng.choice(real).title, " ".join(pieces))


Find = Callable[[str], list[str]]
"""A query to the ids of the best passages."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine with its index."""

    find: Find
    size_mb: float
    """Of the index, MB; of what it holds in memory where it has no files."""


def _folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def build_ours(passages: Sequence[Passage], folder: Path) -> Built:
    """Build the engine of this project."""
    build_index(passages, [], folder / "corpus")
    search = LocalSearch(folder / "corpus", max_snippet_chars=160, max_distance=14)
    runner = asyncio.Runner()

    def find(query: str) -> list[str]:
        return [hit.link for hit in runner.run(search.search_text(query, num_hits=RANKS))]

    find("warm up")
    return Built(find, _folder_mb(folder / "corpus" / "text_index"))


def build_tantivy(passages: Sequence[Passage], folder: Path) -> Built:
    """Build tantivy as its documentation does: one text field with English stems."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name="en_stem")
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    index = tantivy.Index(builder.build(), path=str(folder))
    writer = index.writer(heap_size=1_000_000_000, num_threads=1)
    for one in passages:
        body = f"{one.title}\n{one.text}"
        writer.add_document(tantivy.Document(body=body, id=one.article_id))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def find(query: str) -> list[str]:
        parsed = index.parse_query_lenient(query, ["body"])[0]
        hits = searcher.search(parsed, RANKS).hits
        return [searcher.doc(address)["id"][0] for _, address in hits]

    return Built(find, _folder_mb(folder))


def build_bm25s(passages: Sequence[Passage], folder: Path) -> Built:
    """Build bm25s with stems and its English stop words."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    texts = [f"{one.title}\n{one.text}" for one in passages]
    index = bm25s.BM25(method="lucene")
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
    index.index(tokens, show_progress=False)
    index.save(str(folder))

    def find(query: str) -> list[str]:
        asked = bm25s.tokenize(
            [query], stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
        )
        if not asked[0]:
            return []
        rows, scores = index.retrieve(asked, k=RANKS, show_progress=False)
        pairs = zip(rows[0], scores[0], strict=True)
        return [passages[int(row)].article_id for row, score in pairs if score > 0]

    return Built(find, _folder_mb(folder))


def build_rank_bm25(passages: Sequence[Passage], folder: Path) -> Built:
    """Build rank-bm25, which knows neither stems nor stop words, on lower-case words."""
    del folder
    from rank_bm25 import BM25Okapi

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    index = BM25Okapi([_words(f"{one.title} {one.text}") for one in passages])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    def find(query: str) -> list[str]:
        scores = index.get_scores(_words(query))
        best = np.argsort(-scores, kind="stable")[:RANKS]
        return [passages[int(row)].article_id for row in best if scores[row] > 0]

    return Built(find, grown / 1e3)


def _words(text: str) -> list[str]:
    return "".join(one if one.isalnum() else " " for one in text.lower()).split()


def build_lancedb(passages: Sequence[Passage], folder: Path) -> Built:
    """Build the full-text index of LanceDB with stems and stop words."""
    import lancedb

    rows = [{"id": one.article_id, "body": f"{one.title}\n{one.text}"} for one in passages]
    table = lancedb.connect(folder).create_table("passages", rows)
    table.create_fts_index(
        "body", use_tantivy=False, language="English", stem=True, remove_stop_words=True
    )

    def find(query: str) -> list[str]:
        hits = table.search(query, query_type="fts").limit(RANKS).select(["id"]).to_list()
        return [hit["id"] for hit in hits]

    return Built(find, _folder_mb(folder))


ENGINES: dict[str, tuple[str, Callable[[Sequence[Passage], Path], Built]]] = {
    "ours": ("agentic_vlm", build_ours),
    "tantivy": ("tantivy", build_tantivy),
    "bm25s": ("bm25s", build_bm25s),
    "rank-bm25": ("rank_bm25", build_rank_bm25),
    "lancedb": ("lancedb", build_lancedb),
}


def _report(**row: object) -> None:
    rounded = {key: round(one, 4) if isinstance(one, float) else one for key, one in row.items()}
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()


def _each_engine(names: Sequence[str]) -> Iterator[tuple[str, Callable[..., Built]]]:
    for name in names:
        module, build = ENGINES[name]
        if importlib.util.find_spec(module) is None:
            _report(engine=name, left_out=f"{module} is not installed")
        else:
            yield name, build


def measure_text(arguments: argparse.Namespace) -> None:
    """Print recall and mean reciprocal rank of the real questions among distractors."""
    real, questions = read_xquad(arguments.xquad)
    questions = questions[:: arguments.every]
    made = max(0, arguments.passages - len(real))
    passages = sorted([*real, *iter_distractors(real, made)], key=lambda one: one.article_id)
    for name, build in _each_engine(arguments.engines):
        with tempfile.TemporaryDirectory() as folder:
            built = build(passages, Path(folder))
            ranks = [_rank(built.find(one.text), one.answer_id) for one in questions]
        _report(
            engine=name,
            passages=len(passages),
            questions=len(questions),
            recall_at_1=statistics.mean(rank == 1 for rank in ranks),
            recall_at_5=statistics.mean(0 < rank <= 5 for rank in ranks),
            mrr_at_10=statistics.mean(1 / rank if rank else 0.0 for rank in ranks),
        )


def _rank(found: Sequence[str], wanted: str) -> int:
    return found.index(wanted) + 1 if wanted in found else 0


def measure_speed(arguments: argparse.Namespace) -> None:
    """Print build time, index size and latency of single queries, one after the other."""
    real, questions = read_xquad(arguments.xquad)
    made = max(0, arguments.passages - len(real))
    passages = sorted([*real, *iter_distractors(real, made)], key=lambda one: one.article_id)
    for name, build in _each_engine(arguments.engines):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            built = build(passages, Path(folder))
            build_s = time.perf_counter() - started
            seconds = []
            for one in questions[: arguments.queries]:
                started = time.perf_counter()
                built.find(one.text)
                seconds.append(time.perf_counter() - started)
        _report(
            engine=name,
            passages=len(passages),
            queries=len(seconds),
            build_s=build_s,
            index_mb=built.size_mb,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            p50_ms=1e3 * statistics.median(seconds),
            p99_ms=1e3 * float(np.percentile(seconds, 99)),
            per_second=len(seconds) / sum(seconds),
        )


def measure_pictures(arguments: argparse.Namespace) -> None:
    """Print recall@1 of pictures that were changed, and what is found for unknown ones."""
    rng = random.Random(0)
    paths = sorted(arguments.math_vision.iterdir())
    real = [_small(Image.open(path).convert("RGB")) for path in paths]
    emblems = list(_emblems(arguments.gallery // 4))
    num_made = max(0, arguments.gallery - len(real) - len(emblems))
    made = (_collage(real, rng) for _ in range(num_made))
    with tempfile.TemporaryDirectory() as scratch:
        folder, num = Path(scratch, "windows"), len(real) + len(emblems) + num_made
        started = time.perf_counter()
        write_windows((one for part in (real, emblems, made) for one in part), folder, num=num)
        build_s = time.perf_counter() - started
        gallery = open_windows(folder)
        _report(pictures=num, build_s=build_s, index_mb=_folder_mb(folder))
        asked = list(enumerate(real)) + [(len(real) + row, one) for row, one in enumerate(emblems)]
        asked = asked[: len(real)] + rng.sample(asked[len(real) :], min(len(emblems), len(real)))
        for name, change in CHANGES.items():
            _measure_change(name, change, gallery, asked[:: arguments.every], rng, len(real))
        unknown = [_collage(real, rng) for _ in range(arguments.unknown)]
        found = [bool(gallery.nearest(one, min_score=MIN_FIT, num=1)) for one in unknown]
        _report(change="unknown picture", pictures=len(found), found=statistics.mean(found))


def _measure_change(
    name: str,
    change: Callable[[Image.Image, random.Random], Image.Image],
    gallery: WindowGallery,
    asked: Sequence[tuple[int, Image.Image]],
    rng: random.Random,
    num_real: int,
) -> None:
    right: dict[bool, list[bool]] = {True: [], False: []}
    seconds = []
    for row, image in asked:
        changed = change(image, rng)
        started = time.perf_counter()
        found = gallery.nearest(changed, min_score=MIN_FIT, num=1)
        seconds.append(time.perf_counter() - started)
        right[row < num_real].append(bool(found) and found[0].row == row)
    _report(
        change=name,
        queries=len(seconds),
        recall_at_1=statistics.mean(right[True] + right[False]),
        math_vision=statistics.mean(right[True]),
        emblems=statistics.mean(right[False]) if right[False] else None,
        p50_ms=1e3 * statistics.median(seconds),
    )


def _small(image: Image.Image) -> Image.Image:
    image.thumbnail((800, 800))
    return image


def _emblems(count: int) -> Iterator[Image.Image]:
    source = WorldSource(num_entities=max(40, count), num_articles=max(40, count))
    entities = entities_of(source)
    for page in emblem_pages(entities, articles_of(source, entities)):
        yield Image.open(io.BytesIO(page.png)).convert("RGB")


def _collage(real: Sequence[Image.Image], rng: random.Random) -> Image.Image:
    """Return a picture made of pieces of real ones: as much like them as another one can be."""
    image = Image.new("RGB", (rng.randrange(120, 400), rng.randrange(120, 400)), "white")
    for _ in range(rng.randrange(2, 6)):
        source = rng.choice(real)
        width, height = (max(8, int(side * rng.uniform(0.3, 0.6))) for side in source.size)
        left, top = (
            rng.randrange(source.width - width + 1),
            rng.randrange(source.height - height + 1),
        )
        piece = source.crop((left, top, left + width, top + height))
        scale = rng.uniform(0.2, 0.7) * image.width / width
        piece = piece.resize((max(4, int(width * scale)), max(4, int(height * scale))))
        image.paste(piece, (rng.randrange(image.width), rng.randrange(image.height)))
    return image


def _crop(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return any part with 70 % of the area."""
    share = rng.uniform(0.7, 1.0)
    width = max(1, round(image.width * share))
    height = max(1, round(image.height * 0.7 / share))
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _scale(image: Image.Image, rng: random.Random) -> Image.Image:
    by = 2 ** rng.uniform(-2, 1)
    return image.resize((max(1, round(image.width * by)), max(1, round(image.height * by))))


def _jpeg(image: Image.Image, rng: random.Random) -> Image.Image:
    del rng
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream)


def _colour(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return it with each colour channel up to a tenth stronger or weaker."""
    factors = [rng.uniform(0.9, 1.1) for _ in range(3)]
    return image.point([min(255, round(level * by)) for by in factors for level in range(256)])


CHANGES: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "crop to 70 %": _crop,
    "scale 0.25 to 2": _scale,
    "JPEG 30": _jpeg,
    "colour +-10 %": _colour,
    "all of them": lambda image, rng: _jpeg(_colour(_scale(_crop(image, rng), rng), rng), rng),
}


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
    pictures = commands.add_parser("pictures")
    folder = os.environ.get("MATH_VISION")
    pictures.add_argument("--math-vision", type=Path, default=folder, required=folder is None)
    pictures.add_argument("--gallery", type=int, default=10_000)
    pictures.add_argument("--every", type=int, default=1, help="take every n-th picture")
    pictures.add_argument("--unknown", type=int, default=100)
    arguments = parser.parse_args()
    {"text": measure_text, "speed": measure_speed, "pictures": measure_pictures}[arguments.command](
        arguments
    )


if __name__ == "__main__":
    main()
