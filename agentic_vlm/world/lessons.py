"""Lessons of the base model: pictures with many questions each.

Several questions per picture make its vision tokens, two thirds of the cost, pay several times.
Places are answered in pixels of the original picture, as code will write them, not in grid cells: a
base that had learned cells had to learn pixels again in the cold start.
"""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from PIL import Image

from agentic_vlm.schema import Need
from agentic_vlm.world.copying import copy_lesson, facts_of
from agentic_vlm.world.drawing import NUM_CELLS, Box, cell_box
from agentic_vlm.world.entities import Entity, make_emblem
from agentic_vlm.world.exchange import Exchange, Lesson, with_picture
from agentic_vlm.world.questions import (
    Question,
    ask_arithmetic,
    ask_chart,
    ask_plates,
    ask_receipt,
    read_bars,
    read_items,
)
from agentic_vlm.world.scenes import (
    BarChart,
    Plate,
    PlateScene,
    Receipt,
    make_chart,
    make_plates,
    make_receipt,
    photograph,
)

EMPTY_CROP = "none"
"""What a crop without a plate shows."""


def format_box(box: Box) -> str:
    """Return a box as code writes it.

    >>> format_box((112, 56, 168, 112))
    '112,56,168,112'
    """
    return ",".join(map(str, box))


def _plain(question: Question) -> Exchange:
    return Exchange(question.text, question.answer)


def _place(rng: random.Random, plate: Plate) -> Exchange:
    box = format_box(cell_box(plate.cell))
    kind = rng.randrange(4)
    if kind == 0:
        return Exchange(f"Which plate is at {box}?", plate.colour)
    if kind == 1:
        return Exchange(f"Where is the {plate.colour} plate?", box)
    return Exchange(f"Crop the {plate.colour} plate.", f"image_1.crop(({box}))")


def plates_lesson(rng: random.Random) -> Lesson:
    """Places of all plates, a few comparisons, labels where they are legible."""
    difficulty = rng.randrange(4)
    scene = make_plates(rng, difficulty=difficulty)
    exchanges = [_place(rng, plate) for plate in scene.plates]
    exchanges += [_plain(ask_plates(rng, scene)) for _ in range(5)]
    if difficulty == 0:
        exchanges += [
            Exchange(f"What is the label on the {plate.colour} plate?", plate.label)
            for plate in rng.sample(scene.plates, 2)
        ]
    rng.shuffle(exchanges)
    return with_picture(scene.render(rng), exchanges)


def few_plates_lesson(rng: random.Random) -> Lesson:
    """Places of one or two plates: where a plate is, before which of them is meant."""
    scene = make_plates(rng, difficulty=rng.randrange(4), num_plates=rng.randrange(1, 3))
    exchanges = [_place(rng, plate) for plate in scene.plates for _ in range(3)]
    rng.shuffle(exchanges)
    return with_picture(scene.render(rng), exchanges)


def crop_exchange(rng: random.Random, scene: PlateScene, picture: Image.Image) -> Exchange:
    """Ask what a cell of the picture shows; one in six is empty."""
    plate = rng.choice(scene.plates)
    if rng.random() < 1 / 6:
        taken = {other.cell for other in scene.plates}
        cell = plate.cell
        while cell in taken:
            cell = (rng.randrange(NUM_CELLS), rng.randrange(NUM_CELLS))
        return Exchange(
            "What is the label on the plate?", EMPTY_CROP, (picture.crop(cell_box(cell)),)
        )
    crop = picture.crop(cell_box(plate.cell))
    if rng.random() < 0.15:
        return Exchange("What colour is the plate?", plate.colour, (crop,))
    return Exchange("What is the label on the plate?", plate.label, (crop,))


def crops_lesson(rng: random.Random) -> Lesson:
    """Five crops, each with one question."""
    exchanges = []
    for _ in range(5):
        scene = make_plates(rng, difficulty=rng.randrange(4))
        exchanges.append(crop_exchange(rng, scene, scene.render(rng)))
    return tuple(exchanges)


def _sum(chart: BarChart) -> str:
    """Return what one notes and computes: one value after the other by its colour, then the sum.

    Without the notes, hardly a sum of several values was right.
    """
    return f"{read_bars(chart.bars)}. {'+'.join(str(bar.value) for bar in chart.bars)}"


def _total(receipt: Receipt) -> str:
    expression = "+".join(f"{item.quantity}*{item.price}" for item in receipt.items)
    return f"{read_items(receipt.items)}. {expression}"


def _in_order(
    rng: random.Random, colours: Sequence[str], *, noun: str, ends: str, side: str
) -> list[Exchange]:
    """Name what stands side by side, and what comes next: a sum takes each of them once."""
    exchanges = [Exchange(f"Name the {noun}s from {ends}.", ", ".join(colours))]
    for colour, following in rng.sample(list(pairwise(colours)), 1):
        exchanges.append(Exchange(f"Which {noun} comes {side} the {colour} {noun}?", following))
    return exchanges


def chart_lesson(rng: random.Random) -> Lesson:
    """All values, comparisons, and what one would compute."""
    chart = make_chart(rng, difficulty=rng.randrange(4))
    exchanges = [_plain(ask_chart(rng, chart, need=Need.DIRECT)) for _ in range(4)]
    exchanges += [
        Exchange(f"What is the value of the {bar.colour} bar?", str(bar.value))
        for bar in chart.bars
    ]
    exchanges.append(Exchange("Write the sum of all bars.", _sum(chart)))
    colours = [bar.colour for bar in chart.bars]
    exchanges += _in_order(rng, colours, noun="bar", ends="left to right", side="right of")
    for _ in range(2):
        a, b = rng.sample(chart.bars, 2)
        exchanges.append(
            Exchange(
                f"Write the product of the {a.colour} bar and the {b.colour} bar.",
                f"{read_bars([a, b])}. {a.value}*{b.value}",
            )
        )
        if a.value < 10 and b.value < 10:
            text = f"What is the product of the {a.colour} bar and the {b.colour} bar?"
            exchanges.append(Exchange(text, str(a.value * b.value)))
    rng.shuffle(exchanges)
    return with_picture(chart.render(rng), exchanges)


def receipt_lesson(rng: random.Random) -> Lesson:
    """All lines of a receipt, and what one would compute."""
    receipt = make_receipt(rng, difficulty=rng.randrange(4))
    exchanges = [_plain(ask_receipt(rng, receipt, need=Need.DIRECT)) for _ in range(2)]
    for item in receipt.items:
        exchanges += [
            Exchange(f"What is the price of the {item.colour} item?", str(item.price)),
            Exchange(f"What is the quantity of the {item.colour} item?", str(item.quantity)),
        ]
    exchanges.append(Exchange("Write the total of the receipt.", _total(receipt)))
    colours = [item.colour for item in receipt.items]
    exchanges += _in_order(rng, colours, noun="item", ends="top to bottom", side="below")
    rng.shuffle(exchanges)
    return with_picture(receipt.render(rng), exchanges)


def emblem_lesson(rng: random.Random) -> Lesson:
    """Colours of two emblems."""
    exchanges = []
    for _ in range(2):
        emblem = make_emblem(rng)
        stand_in = Entity("", "", 0, 0, "", emblem, is_held_out=False, is_famous=False)
        exchanges.append(
            Exchange(
                "What colour is the emblem?", emblem.colour, (photograph(stand_in.emblem, rng),)
            )
        )
        exchanges.append(Exchange("What colour is the ground of the emblem?", emblem.ground))
    return tuple(exchanges)


def text_lesson(rng: random.Random, entities: Sequence[Entity]) -> Lesson:
    """Small sums, expressions for word problems, and what the base knows by heart."""
    exchanges = []
    for _ in range(3):
        exchanges.append(_plain(ask_arithmetic(rng, need=Need.DIRECT, difficulty=0)))
        problem = ask_arithmetic(rng, need=Need.TOOL, difficulty=rng.randrange(4))
        exchanges.append(
            Exchange(f"Write it as code. {problem.text}", f"print({problem.solution[0].text})")
        )
    for famous in rng.sample([entity for entity in entities if entity.is_famous], 2):
        exchanges.append(rng.choice(facts_of(famous)))
    rng.shuffle(exchanges)
    return tuple(exchanges)


_MAKERS: tuple[tuple[float, Callable[[random.Random], Lesson]], ...] = (
    (0.36, plates_lesson),
    (0.12, crops_lesson),
    (0.13, chart_lesson),
    (0.10, receipt_lesson),
    (0.04, emblem_lesson),
    (0.14, copy_lesson),
)


def make_lesson(rng: random.Random, entities: Sequence[Entity]) -> Lesson:
    """Return a lesson of a random kind.

    Args:
        rng: source of all chance.
        entities: those that the base may read about; never held-out ones.
    """
    draw = rng.random()
    for share, maker in _MAKERS:
        if draw < share:
            return maker(rng)
        draw -= share
    return text_lesson(rng, entities)
