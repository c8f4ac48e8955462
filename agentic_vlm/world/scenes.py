"""What can be drawn: plates, bar charts, receipts and emblems."""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from agentic_vlm.world.drawing import (
    CELL_PX,
    COLOURS,
    NUM_CELLS,
    PICTURE_PX,
    Cell,
    blank_picture,
    cell_box,
    draw_text,
    ink_for,
)
from agentic_vlm.world.entities import EMBLEM_CELLS, Emblem, make_code

LABEL_PX = (24, 15, 12, 10)
"""Height of a plate's label by difficulty, px; halved in the overview, where only the first is
legible."""
_NUMBER_PX = 24
_INK = (25, 25, 25)
RECEIPT_COLUMNS = (1, 2, 3, 4, 5)
"""Columns of cells that a line of a receipt covers."""
QUANTITY_COLUMN, PRICE_COLUMN = 2, 4
MAX_DIGITS = (1, 2, 2, 3)
"""Most digits of a number in a chart or on a receipt, by difficulty."""


@dataclass(frozen=True, slots=True)
class Plate:
    """A coloured plate with a label."""

    colour: str
    cell: Cell
    label: str
    label_px: int


@dataclass(frozen=True, slots=True)
class PlateScene:
    """Plates of different colours in different cells; three to six in samples."""

    plates: tuple[Plate, ...]

    def render(self, rng: random.Random) -> Image.Image:
        """Draw the plates."""
        picture = blank_picture(rng)
        draw = ImageDraw.Draw(picture)
        for plate in self.plates:
            left, top, right, bottom = cell_box(plate.cell)
            draw.rounded_rectangle(
                (left + 3, top + 9, right - 4, bottom - 10), 5, COLOURS[plate.colour]
            )
            draw_text(
                draw,
                (left, top, right, bottom),
                plate.label,
                size_px=plate.label_px,
                ink=ink_for(plate.colour),
            )
        return picture


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its value, printed below it."""

    colour: str
    column: int
    value: int


@dataclass(frozen=True, slots=True)
class BarChart:
    """Three to five bars; heights are proportional to values, which stand below in their colour.

    A value that one can only find by following its column down took two steps, colour to column and
    column to number, and the base model found few of them.
    """

    bars: tuple[Bar, ...]

    def render(self, rng: random.Random) -> Image.Image:
        """Draw the bars and their values."""
        picture = blank_picture(rng)
        draw = ImageDraw.Draw(picture)
        floor = (NUM_CELLS - 1) * CELL_PX
        highest = max(bar.value for bar in self.bars)
        for bar in self.bars:
            left, top, right, bottom = cell_box((bar.column, NUM_CELLS - 1))
            height = max(12, round(bar.value / highest * (floor - CELL_PX)))
            draw.rectangle((left + 10, floor - height, right - 10, floor), COLOURS[bar.colour])
            draw.rectangle((left + 2, top + 8, right - 3, bottom - 8), COLOURS[bar.colour])
            draw_text(
                draw,
                (left, top, right, bottom),
                str(bar.value),
                size_px=_NUMBER_PX,
                ink=ink_for(bar.colour),
            )
        draw.line((0, floor, PICTURE_PX, floor), _INK, 2)
        return picture


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a receipt."""

    colour: str
    quantity: int
    price: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Two to four items: a line in the item's colour with a quantity and a price."""

    items: tuple[Item, ...]
    top_row: int

    def render(self, rng: random.Random) -> Image.Image:
        """Draw one line per item."""
        picture = blank_picture(rng)
        draw = ImageDraw.Draw(picture)
        draw.rectangle((CELL_PX // 2, 0, PICTURE_PX - CELL_PX // 2, PICTURE_PX), (252, 252, 252))
        for number, item in enumerate(self.items):
            row = self.top_row + number
            left, top, _, bottom = cell_box((RECEIPT_COLUMNS[0], row))
            right = cell_box((RECEIPT_COLUMNS[-1], row))[2]
            draw.rectangle((left, top + 6, right, bottom - 6), COLOURS[item.colour])
            ink = ink_for(item.colour)
            for column, value in ((QUANTITY_COLUMN, item.quantity), (PRICE_COLUMN, item.price)):
                draw_text(draw, cell_box((column, row)), str(value), size_px=_NUMBER_PX, ink=ink)
        return picture


def draw_emblem(emblem: Emblem, *, size_px: int) -> Image.Image:
    """Draw an emblem that fills the picture."""
    picture = Image.new("RGB", (size_px, size_px), COLOURS[emblem.ground])
    draw = ImageDraw.Draw(picture)
    margin = size_px // 8
    unit = (size_px - 2 * margin) / EMBLEM_CELLS
    half = (EMBLEM_CELLS + 1) // 2
    for row in range(EMBLEM_CELLS):
        for column in range(EMBLEM_CELLS):
            mirrored = min(column, EMBLEM_CELLS - 1 - column)
            if emblem.pattern >> (row * half + mirrored) & 1:
                left, top = margin + column * unit, margin + row * unit
                draw.rectangle(
                    (round(left), round(top), round(left + unit) - 1, round(top + unit) - 1),
                    COLOURS[emblem.colour],
                )
    return picture


def make_plates(
    rng: random.Random,
    *,
    difficulty: int,
    labels: list[str] | None = None,
    num_plates: int | None = None,
) -> PlateScene:
    """Return a scene whose labels have the height of this difficulty.

    Args:
        rng: source of all chance.
        difficulty: 0 to 3, an index into LABEL_PX.
        labels: labels to use first; the others are random.
        num_plates: how many plates; three to six where it is not given.
    """
    count = num_plates or rng.randrange(3, 7)
    cells = rng.sample(
        [(column, row) for column in range(NUM_CELLS) for row in range(NUM_CELLS)], count
    )
    given = list(labels or [])
    plates = []
    for colour, cell in zip(rng.sample(sorted(COLOURS), count), cells, strict=True):
        label = given.pop(0) if given else make_code(rng)
        plates.append(Plate(colour=colour, cell=cell, label=label, label_px=LABEL_PX[difficulty]))
    return PlateScene(tuple(plates))


def make_number(rng: random.Random, *, difficulty: int) -> int:
    """Return a positive number with at most the digits of this difficulty."""
    digits = MAX_DIGITS[difficulty]
    return rng.randrange(2 if digits == 1 else 10 ** (digits - 1), 10**digits)


def make_chart(rng: random.Random, *, difficulty: int) -> BarChart:
    """Return a chart whose values have the size of this difficulty."""
    count = rng.randrange(3, 6)
    columns = sorted(rng.sample(range(NUM_CELLS), count))
    colours = rng.sample(sorted(COLOURS), count)
    values: list[int] = []
    while len(values) < count:
        value = make_number(rng, difficulty=difficulty)
        if value not in values:
            values.append(value)
    return BarChart(tuple(map(Bar, colours, columns, values)))


def make_receipt(rng: random.Random, *, difficulty: int) -> Receipt:
    """Return a receipt whose prices have the size of this difficulty."""
    count = rng.randrange(2, 4 if difficulty < 2 else 5)
    items = [
        Item(
            colour=colour,
            quantity=rng.randrange(2, 10),
            price=make_number(rng, difficulty=difficulty),
        )
        for colour in rng.sample(sorted(COLOURS), count)
    ]
    return Receipt(tuple(items), top_row=rng.randrange(0, NUM_CELLS - count + 1))


def photograph(emblem: Emblem, rng: random.Random) -> Image.Image:
    """Draw an emblem as somebody met it: another size, a little brighter or darker."""
    picture = draw_emblem(emblem, size_px=rng.choice((336, 392, 448)))
    gain = rng.uniform(0.92, 1.06)
    return picture.point(lambda value: min(255, round(value * gain)))
