"""Colours, fonts and the grid on which every pocket picture is drawn.

All pictures are 448 x 448 pixels: an 8 x 8 grid of 56-pixel cells. The policy sees 224 x 224, so
one cell is one merged vision token; drawing onto the grid makes a place sayable in few tokens.
"""

import random

from PIL import Image, ImageDraw, ImageFont

PICTURE_PX = 448
CELL_PX = 56
NUM_CELLS = PICTURE_PX // CELL_PX

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (44, 150, 62),
    "blue": (36, 84, 200),
    "yellow": (240, 200, 30),
    "orange": (245, 130, 32),
    "purple": (130, 50, 170),
    "cyan": (40, 190, 200),
    "brown": (120, 76, 44),
}
_INK_ON = {"yellow": (20, 20, 20), "cyan": (20, 20, 20), "orange": (20, 20, 20)}
_WHITE = (255, 255, 255)

Box = tuple[int, int, int, int]
Cell = tuple[int, int]


def derive_rng(*parts: str | int) -> random.Random:
    """Return a generator that depends on the parts alone, the same in every process.

    >>> derive_rng("a", 1).random() == derive_rng("a", 1).random()
    True
    """
    # A text seed is hashed with SHA-512 by random.Random, so it is stable across processes.
    return random.Random("/".join(map(str, parts)))


def cell_box(cell: Cell) -> Box:
    """Return left, top, right, bottom of a cell (column, row) in pixels of the picture.

    >>> cell_box((2, 1))
    (112, 56, 168, 112)
    """
    column, row = cell
    left, top = column * CELL_PX, row * CELL_PX
    return left, top, left + CELL_PX, top + CELL_PX


def blank_picture(rng: random.Random) -> Image.Image:
    """Return an empty picture with a light tint."""
    tint = tuple(rng.randrange(225, 250) for _ in range(3))
    return Image.new("RGB", (PICTURE_PX, PICTURE_PX), tint)


def ink_for(colour: str) -> tuple[int, int, int]:
    """Return a text colour that can be read on a plate of this colour."""
    return _INK_ON.get(colour, _WHITE)


def draw_text(
    draw: ImageDraw.ImageDraw, box: Box, text: str, *, size_px: int, ink: tuple[int, int, int]
) -> None:
    """Write the text into the middle of the box."""
    # Pillow's own font ships with the package, so pictures do not depend on the machine's fonts.
    font = ImageFont.load_default(size_px)
    left, top, right, bottom = box
    draw.text(((left + right) / 2, (top + bottom) / 2), text, font=font, fill=ink, anchor="mm")
