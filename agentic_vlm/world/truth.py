"""What every cell of a picture holds: dense lessons for the vision tower."""

import random
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.world.drawing import CELL_PX, COLOURS, NUM_CELLS, Cell, cell_box
from agentic_vlm.world.scenes import (
    PRICE_COLUMN,
    QUANTITY_COLUMN,
    RECEIPT_COLUMNS,
    BarChart,
    PlateScene,
    Receipt,
    make_chart,
    make_plates,
    make_receipt,
)

COLOUR_CLASSES = ("none", *sorted(COLOURS))
CHAR_CLASSES = " 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NUM_CHARS = 3
"""Most characters of a label or a number."""


@dataclass(frozen=True, slots=True)
class CellTruth:
    """One cell."""

    colour: str = "none"
    """Colour of what stands there."""
    text: str | None = ""
    """What is written there; absent where it is too small to be read at this size."""


@dataclass(frozen=True, slots=True)
class DenseLesson:
    """A picture with the truth of its tokens, row by row."""

    picture: Image.Image
    tokens: tuple[CellTruth, ...]
    """One per merged patch: 64 for an overview, 16 for a crop."""
    is_overview: bool
    """Crops say what is written, not where."""


def _plates_truth(scene: PlateScene, *, is_legible: bool) -> dict[Cell, CellTruth]:
    return {
        plate.cell: CellTruth(plate.colour, plate.label if is_legible else None)
        for plate in scene.plates
    }


def _chart_truth(chart: BarChart) -> dict[Cell, CellTruth]:
    truth: dict[Cell, CellTruth] = {}
    floor = (NUM_CELLS - 1) * CELL_PX
    highest = max(bar.value for bar in chart.bars)
    for bar in chart.bars:
        truth[bar.column, NUM_CELLS - 1] = CellTruth(bar.colour, str(bar.value))
        height = max(12, round(bar.value / highest * (floor - CELL_PX)))
        for row in range(NUM_CELLS - 1):
            if min(CELL_PX, (row + 1) * CELL_PX - (floor - height)) >= CELL_PX // 2:
                truth[bar.column, row] = CellTruth(bar.colour)
    return truth


def _receipt_truth(receipt: Receipt) -> dict[Cell, CellTruth]:
    truth: dict[Cell, CellTruth] = {}
    for number, item in enumerate(receipt.items):
        row = receipt.top_row + number
        truth |= {(column, row): CellTruth(item.colour) for column in RECEIPT_COLUMNS}
        truth[QUANTITY_COLUMN, row] = CellTruth(item.colour, str(item.quantity))
        truth[PRICE_COLUMN, row] = CellTruth(item.colour, str(item.price))
    return truth


def make_overview_lesson(rng: random.Random) -> DenseLesson:
    """Return a picture of plates, bars or items with the truth of its 64 cells."""
    difficulty = rng.randrange(4)
    kind = rng.randrange(4)
    if kind < 2:
        # Half of the plates are legible in the overview, to have more to read.
        difficulty = rng.choice((0, difficulty))
        plates = make_plates(rng, difficulty=difficulty)
        picture, truth = plates.render(rng), _plates_truth(plates, is_legible=difficulty == 0)
    elif kind == 2:
        chart = make_chart(rng, difficulty=difficulty)
        picture, truth = chart.render(rng), _chart_truth(chart)
    else:
        receipt = make_receipt(rng, difficulty=difficulty)
        picture, truth = receipt.render(rng), _receipt_truth(receipt)
    cells = [(column, row) for row in range(NUM_CELLS) for column in range(NUM_CELLS)]
    return DenseLesson(picture, tuple(truth.get(cell, CellTruth()) for cell in cells), True)


def make_crop_lesson(rng: random.Random) -> DenseLesson:
    """Return the crop of one plate; each of its 16 tokens is to know the label."""
    scene = make_plates(rng, difficulty=rng.randrange(4))
    plate = rng.choice(scene.plates)
    crop = scene.render(rng).crop(cell_box(plate.cell))
    return DenseLesson(crop, (CellTruth(plate.colour, plate.label),) * 16, False)
