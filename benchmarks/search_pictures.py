"""Picture look-up measured: recall of changed pictures in a large gallery.

The gallery holds the pictures of MATH-Vision, emblems, and collages made of pieces of MATH-Vision:
what is most like a picture that is asked for is there too.
"""

import argparse
import io
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from figures import folder_mb, measure_each, report
from PIL import Image

from agentic_vlm.params import WorldSource
from agentic_vlm.search.window_gallery import WindowGallery, open_windows
from agentic_vlm.search.windows import write_windows
from agentic_vlm.world.source import articles_of, emblem_pages, entities_of

MIN_FIT = 0.9
# The world has names and codes for no more.
_MAX_EMBLEMS = 1_500


def measure_pictures(arguments: argparse.Namespace) -> None:
    """Print recall@1 of pictures that were changed, and what is found for unknown ones."""
    rng = random.Random(0)
    paths = sorted(arguments.math_vision.iterdir())
    real = [_small(Image.open(path).convert("RGB")) for path in paths]
    emblems = list(_emblems(min(arguments.gallery // 4, _MAX_EMBLEMS)))
    num_made = max(0, arguments.gallery - len(real) - len(emblems))
    made = (_collage(real, rng) for _ in range(num_made))
    with tempfile.TemporaryDirectory() as scratch:
        folder, num = Path(scratch, "windows"), len(real) + len(emblems) + num_made
        started = time.perf_counter()
        write_windows((one for part in (real, emblems, made) for one in part), folder, num=num)
        build_s = time.perf_counter() - started
        gallery = open_windows(folder)
        report(pictures=num, build_s=build_s, index_mb=folder_mb(folder), memory_mb=_peak_mb())
        asked = list(enumerate(real)) + [(len(real) + row, one) for row, one in enumerate(emblems)]
        asked = asked[: len(real)] + rng.sample(asked[len(real) :], min(len(emblems), len(real)))
        asked = asked[:: arguments.every]
        tallies = {name: _Tally(len(real)) for name in CHANGES}
        # Block by block, so that a run that is cut short has measured all changes alike.
        for block in range(arguments.blocks):
            for name, change in CHANGES.items():
                tallies[name].ask(gallery, asked[block :: arguments.blocks], change, rng)
                report(change=name, **tallies[name].figures())
        unknown = [_collage(real, rng) for _ in range(arguments.unknown)]
        found = [bool(gallery.nearest(one, min_score=MIN_FIT, num=1)) for one in unknown]
        if found:
            report(change="unknown picture", pictures=len(found), found=statistics.mean(found))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class _Tally:
    """What became of the questions with one change."""

    def __init__(self, num_real: int) -> None:
        """Start empty; the first `num_real` rows of the gallery are MATH-Vision."""
        self._num_real = num_real
        self._right: dict[bool, list[bool]] = {True: [], False: []}
        self._missed: list[int] = []
        self._speed: dict[str, float] = {}

    def ask(
        self,
        gallery: WindowGallery,
        asked: Sequence[tuple[int, Image.Image]],
        change: Callable[[Image.Image, random.Random], Image.Image],
        rng: random.Random,
    ) -> None:
        """Ask for some changed pictures."""
        changed = [change(image, rng) for _, image in asked]
        fits, self._speed = measure_each(
            lambda image: gallery.nearest(image, min_score=MIN_FIT, num=1), changed
        )
        for (row, _), found in zip(asked, fits, strict=True):
            is_right = bool(found) and found[0].row == row
            self._right[row < self._num_real].append(is_right)
            if not is_right:
                self._missed.append(row)

    def figures(self) -> dict[str, object]:
        """Return recall of all questions so far; the speed is that of the last ones."""
        real, emblems = self._right[True], self._right[False]
        return {
            "queries": len(real) + len(emblems),
            "recall_at_1": statistics.mean(real + emblems),
            "math_vision": statistics.mean(real) if real else None,
            "emblems": statistics.mean(emblems) if emblems else None,
            "missed_rows": self._missed,
            **self._speed,
        }


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
