"""Questions about scenes, with answers and reference solutions."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_vlm.schema import AnswerType, Need, SolutionStep, StepKind
from agentic_vlm.world.drawing import cell_box
from agentic_vlm.world.entities import Entity
from agentic_vlm.world.scenes import Bar, BarChart, Item, Plate, PlateScene, Receipt


@dataclass(frozen=True, slots=True)
class Question:
    """A question with everything that its sample needs."""

    text: str
    answer: str
    need: Need
    template: str
    answer_type: AnswerType = AnswerType.TEXT
    solution: tuple[SolutionStep, ...] = ()
    flags: tuple[str, ...] = ()


def read_bars(bars: Sequence[Bar]) -> str:
    """Return the values of bars as one notes them before computing.

    >>> read_bars([Bar("red", 0, 12), Bar("blue", 2, 7)])
    'red 12, blue 7'
    """
    return ", ".join(f"{bar.colour} {bar.value}" for bar in bars)


def read_items(items: Sequence[Item]) -> str:
    """Return the lines of a receipt as one notes them before computing.

    >>> read_items([Item("red", 2, 40)])
    'red 2*40'
    """
    return ", ".join(f"{item.colour} {item.quantity}*{item.price}" for item in items)


def _compute(expression: str, result: int, *, notes: str = "") -> SolutionStep:
    return SolutionStep(kind=StepKind.COMPUTE, text=expression, notes=notes, reads=str(result))


def _crop(plate: Plate) -> SolutionStep:
    return SolutionStep(kind=StepKind.CROP, box=cell_box(plate.cell), reads=plate.label)


def ask_label(rng: random.Random, scene: PlateScene) -> Question:
    """Ask for a label that is illegible until one crops."""
    plate = rng.choice(scene.plates)
    return Question(
        text=f"What is the label on the {plate.colour} plate?",
        answer=plate.label,
        need=Need.TOOL,
        template="label",
        solution=(_crop(plate),),
        flags=("perception",),
    )


def ask_plates(rng: random.Random, scene: PlateScene) -> Question:
    """Ask something about plates that the overview shows."""
    template = rng.choice(["count", "extreme", "compare"])
    if template == "count":
        return Question(
            text="How many plates are there?",
            answer=str(len(scene.plates)),
            need=Need.DIRECT,
            template="count",
            answer_type=AnswerType.INTEGER,
        )
    side, axis, sign = rng.choice(
        [("left", 0, 1), ("right", 0, -1), ("top", 1, 1), ("bottom", 1, -1)]
    )
    ranked = sorted(scene.plates, key=lambda plate: sign * plate.cell[axis])
    first, second = ranked[0], ranked[1]
    if template == "extreme" and first.cell[axis] != second.cell[axis]:
        text = f"Which plate is nearest to the {side}?"
        return Question(text=text, answer=first.colour, need=Need.DIRECT, template="extreme")
    pairs = [
        (a, b)
        for a in scene.plates
        for b in scene.plates
        if sign * (b.cell[axis] - a.cell[axis]) > 0
    ]
    if not pairs:
        return ask_plates(rng, scene)
    nearer, farther = rng.choice(pairs)
    named = [nearer.colour, farther.colour]
    rng.shuffle(named)
    return Question(
        text=f"Which plate is nearer to the {side}, {named[0]} or {named[1]}?",
        answer=nearer.colour,
        need=Need.DIRECT,
        template="compare",
    )


def ask_chart(rng: random.Random, chart: BarChart, *, need: Need) -> Question:
    """Ask about a bar chart."""
    first, second = rng.sample(chart.bars, 2)
    if need is Need.DIRECT:
        template = rng.choice(["taller", "num_bars", "bar_value"])
        if template == "taller":
            taller = max(first, second, key=lambda bar: bar.value)
            text = f"Which bar is taller, {first.colour} or {second.colour}?"
            return Question(text=text, answer=taller.colour, need=need, template=template)
        if template == "num_bars":
            text, answer = "How many bars are there?", str(len(chart.bars))
        else:
            text, answer = f"What is the value of the {first.colour} bar?", str(first.value)
        return Question(
            text=text, answer=answer, need=need, template=template, answer_type=AnswerType.INTEGER
        )
    if rng.random() < 0.5:
        result = first.value * second.value
        text = f"What is the product of the {first.colour} bar and the {second.colour} bar?"
        notes = read_bars([first, second])
        step = _compute(f"{first.value}*{second.value}", result, notes=notes)
        template = "product"
    else:
        result = sum(bar.value for bar in chart.bars)
        text = "What is the sum of all bars?"
        expression = "+".join(str(bar.value) for bar in chart.bars)
        step = _compute(expression, result, notes=read_bars(chart.bars))
        template = "sum"
    return Question(
        text=text,
        answer=str(result),
        need=need,
        template=template,
        answer_type=AnswerType.INTEGER,
        solution=(step,),
        flags=("perception", "reason"),
    )


def ask_receipt(rng: random.Random, receipt: Receipt, *, need: Need) -> Question:
    """Ask about a receipt."""
    if need is Need.DIRECT:
        item = rng.choice(receipt.items)
        template, text, answer = rng.choice(
            [
                ("num_items", "How many lines are on the receipt?", len(receipt.items)),
                ("price", f"What is the price of the {item.colour} item?", item.price),
                ("quantity", f"What is the quantity of the {item.colour} item?", item.quantity),
            ]
        )
        return Question(
            text=text,
            answer=str(answer),
            need=need,
            template=template,
            answer_type=AnswerType.INTEGER,
        )
    total = sum(item.quantity * item.price for item in receipt.items)
    expression = "+".join(f"{item.quantity}*{item.price}" for item in receipt.items)
    return Question(
        text="What is the total of the receipt?",
        answer=str(total),
        need=need,
        template="total",
        answer_type=AnswerType.INTEGER,
        solution=(_compute(expression, total, notes=read_items(receipt.items)),),
        flags=("perception", "reason"),
    )


def _fact(rng: random.Random, entity: Entity) -> tuple[str, str, int]:
    """Return a template suffix, a search word and the fact."""
    if rng.random() < 0.5:
        return "founded", "founded", entity.founded
    return "members", "members", entity.members


def ask_emblem(rng: random.Random, entity: Entity) -> Question:
    """Ask for a fact about the owner of an emblem: two searches."""
    name, word, fact = _fact(rng, entity)
    text = (
        "In which year was the owner of this emblem founded?"
        if name == "founded"
        else "How many members has the owner of this emblem?"
    )
    return Question(
        text=text,
        answer=str(fact),
        need=Need.TOOL,
        template=f"emblem_{name}",
        answer_type=AnswerType.INTEGER,
        solution=(
            SolutionStep(kind=StepKind.IMAGE_SEARCH, reads=entity.name),
            SolutionStep(kind=StepKind.TEXT_SEARCH, text=f"{entity.name} {word}", reads=str(fact)),
        ),
        flags=("search",),
    )


def ask_named(rng: random.Random, entity: Entity) -> Question:
    """Ask for a fact about an entity by name: one search, or none if it is famous."""
    name, word, fact = _fact(rng, entity)
    text = (
        f"In which year was {entity.name} founded?"
        if name == "founded"
        else f"How many members has {entity.name}?"
    )
    return Question(
        text=text,
        answer=str(fact),
        need=Need.TOOL,
        template=f"named_{name}",
        answer_type=AnswerType.INTEGER,
        solution=(
            SolutionStep(kind=StepKind.TEXT_SEARCH, text=f"{entity.name} {word}", reads=str(fact)),
        ),
        flags=("search",),
    )


def ask_emblem_look(rng: random.Random, entity: Entity) -> Question:
    """Ask what the picture of an emblem shows."""
    template, text, answer = rng.choice(
        [
            ("emblem_colour", "What colour is the emblem?", entity.emblem.colour),
            ("emblem_ground", "What colour is the ground of the emblem?", entity.emblem.ground),
        ]
    )
    return Question(text=text, answer=answer, need=Need.DIRECT, template=template)


def ask_integration(rng: random.Random, scene: PlateScene, owners: dict[str, Entity]) -> Question:
    """Ask for a number that takes a crop, a search and a computation."""
    plate = rng.choice([plate for plate in scene.plates if plate.label in owners])
    founded = owners[plate.label].founded
    age = 2000 - founded
    return Question(
        text=f"How old was the owner of the code on the {plate.colour} plate in the year 2000?",
        answer=str(age),
        need=Need.TOOL,
        template="age_of_owner",
        answer_type=AnswerType.INTEGER,
        solution=(
            _crop(plate),
            SolutionStep(kind=StepKind.TEXT_SEARCH, text=f"code {plate.label}", reads=str(founded)),
            _compute(f"2000-{founded}", age),
        ),
        flags=("perception", "search", "reason"),
    )


_PEOPLE = ["Tom", "Mia", "Ben", "Eva", "Leo", "Ada"]
_THINGS = ["pens", "apples", "books", "coins", "cards", "nuts"]


def ask_arithmetic(rng: random.Random, *, need: Need, difficulty: int) -> Question:
    """Ask a word problem without a picture, in GSM8K form."""
    who, thing = rng.choice(_PEOPLE), rng.choice(_THINGS)
    if need is Need.DIRECT:
        a, b = rng.randrange(1, 10), rng.randrange(1, 10)
        text, answer = (
            f"{who} has {a} {thing} and buys {b} more. How many {thing} has {who} now?",
            a + b,
        )
        return Question(
            text=text,
            answer=str(answer),
            need=need,
            template="small_sum",
            answer_type=AnswerType.INTEGER,
        )
    high = 10 ** (difficulty + 1)
    a, b = rng.randrange(max(2, high // 10), high), rng.randrange(2, max(10, high // 10))
    if rng.random() < 0.5:
        text = f"{who} has {a} boxes with {b} {thing} each. How many {thing} is that?"
        expression, answer, template = f"{a}*{b}", a * b, "boxes"
    else:
        c = rng.randrange(max(2, high // 10), high)
        text = (
            f"{who} has {a} {thing}, finds {c} more and then gets {b} times as many. "
            f"How many {thing} is that?"
        )
        expression, answer, template = f"({a}+{c})*{b}", (a + c) * b, "times"
    return Question(
        text=text,
        answer=str(answer),
        need=need,
        template=template,
        answer_type=AnswerType.INTEGER,
        solution=(_compute(expression, answer),),
        flags=("reason",),
    )
