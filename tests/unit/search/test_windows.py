"""Pictures that are found by a part of them."""

import asyncio
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search import LocalSearch, build_index
from agentic_vlm.search.window_gallery import open_windows
from agentic_vlm.search.windows import WINDOWS, write_windows

from .conftest import Picture, encode

MIN_SCORE = 0.9


def sketch(seed: int, *, size: tuple[int, int] = (180, 140)) -> Image.Image:
    """Draw thin lines, letters and a few filled shapes on white, as in a textbook."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)

    def point() -> tuple[int, int]:
        return rng.randrange(size[0]), rng.randrange(size[1])

    for _ in range(6):
        pen.line([point(), point()], fill="black", width=2)
        pen.text(point(), rng.choice("ABCDE"), fill="black")
    for _ in range(2):
        (left, top), (right, bottom) = point(), point()
        box = [min(left, right), min(top, bottom), max(left, right), max(top, bottom)]
        pen.rectangle(box, outline="black", fill=rng.choice(["grey", "orange", None]))
    return image


def crop(image: Image.Image) -> Image.Image:
    return image.crop((int(image.width * 0.16), 0, image.width, int(image.height * 0.83)))


def jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream)


def tint(image: Image.Image) -> Image.Image:
    channels = zip(image.split(), (1.1, 1.0, 0.9), strict=True)
    return Image.merge(
        "RGB", [one.point(lambda level, by=by: min(255, round(level * by))) for one, by in channels]
    )


CHANGES = {
    "same": lambda image: image,
    "crop": crop,
    "quarter": lambda image: image.resize((image.width // 4, image.height // 4)),
    "double": lambda image: image.resize((image.width * 2, image.height * 2)),
    "jpeg": jpeg,
    "tint": tint,
    "crop and jpeg": lambda image: jpeg(crop(image)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "windows"
    write_windows((sketch(seed) for seed in range(40)), folder, num=40)
    return folder


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_picture_is_found_first(
    folder: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    gallery = open_windows(folder)
    for row in (3, 17, 38):
        found = gallery.nearest(change(sketch(row)), min_score=MIN_SCORE, num=3)
        assert found[0].row == row


def test_another_picture_is_not_found(folder: Path) -> None:
    gallery = open_windows(folder)
    assert [
        gallery.nearest(sketch(seed), min_score=MIN_SCORE, num=1) for seed in range(100, 104)
    ] == [[]] * 4


def test_the_same_shape_in_another_colour_is_not_found(tmp_path: Path) -> None:
    plain = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    write_windows(plain, tmp_path / "windows", num=2)
    found = open_windows(tmp_path / "windows").nearest(plain[1], min_score=MIN_SCORE, num=2)
    assert [fit.row for fit in found] == [1]


def test_every_window_lies_in_the_picture_and_has_seventy_percent_of_it() -> None:
    assert (WINDOWS[:, :2] >= 0).all()
    assert (WINDOWS[:, :2] + WINDOWS[:, 2:] <= 1 + 1e-6).all()
    assert (WINDOWS[:, 2] * WINDOWS[:, 3] >= 0.7 - 1e-6).all()


def test_an_empty_gallery_finds_nothing(tmp_path: Path) -> None:
    pictures = LocalSearch(tmp_path / "corpus", max_snippet_chars=99, max_distance=14)
    build_index([], [], tmp_path / "corpus", finds_crops=True)
    assert asyncio.run(pictures.search_image(sketch(1), num_hits=3)) == []


def test_a_damaged_file_is_unavailable_not_empty(tmp_path: Path) -> None:
    pictures = [Picture(f"l{seed}", "t", encode(sketch(seed))) for seed in range(2)]
    build_index([], pictures, tmp_path / "corpus", finds_crops=True)
    path = tmp_path / "corpus" / "windows" / "thumbs.npy"
    thumbs = np.load(path, mmap_mode="r+")
    thumbs[1, 5] ^= 1
    thumbs.flush()
    search = LocalSearch(tmp_path / "corpus", max_snippet_chars=99, max_distance=14)
    with pytest.raises(SearchUnavailable, match=r"thumbs\.npy is damaged"):
        asyncio.run(search.search_image(sketch(1), num_hits=3))


def test_equal_pictures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_windows((sketch(seed) for seed in range(3)), tmp_path / name, num=3)
    for file in ("descriptions.npy", "thumbs.npy"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
