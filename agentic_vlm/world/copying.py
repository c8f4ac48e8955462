"""Lessons of copying: names, codes and numbers from what stands before into queries and code."""

import random
from collections.abc import Sequence

from agentic_vlm.schema import Need
from agentic_vlm.world.entities import Entity, article_text, make_code, make_entity
from agentic_vlm.world.exchange import Exchange, Lesson, with_picture
from agentic_vlm.world.questions import ask_arithmetic
from agentic_vlm.world.scenes import photograph
from agentic_vlm.world.script import write_search

_EMBLEM_SHARE = 0.6
"""Share of the lessons about words that begin with a picture, as the questions of the loop do: with
one in front, half of the names were not copied that were copied without."""


def _behind_emblem(rng: random.Random, exchanges: Sequence[Exchange]) -> Lesson:
    if rng.random() >= _EMBLEM_SHARE:
        return tuple(exchanges)
    return with_picture(photograph(make_entity(rng).emblem, rng), exchanges)


def facts_of(entity: Entity) -> list[Exchange]:
    """Ask for what is known of an entity."""
    return [
        Exchange(f"In which year was {entity.name} founded?", str(entity.founded)),
        Exchange(f"How many members has {entity.name}?", str(entity.members)),
    ]


def copy_lesson(rng: random.Random) -> Lesson:
    """Read a page about strangers, and write queries and code with the words of a question.

    Every name is new: a base that had read of the same thousand names again and again did not copy
    names that it had not read of.
    """
    shown = [make_entity(rng) for _ in range(rng.randrange(1, 4))]
    page = "\n".join(
        f"{number}. {e.name}: {article_text(e)}" for number, e in enumerate(shown, start=1)
    )
    asked: list[Exchange] = []
    for entity in shown:
        asked += [
            *facts_of(entity),
            Exchange(
                f"In which year was the owner of code {entity.code} founded?", str(entity.founded)
            ),
            Exchange(f"Who has the code {entity.code}?", entity.name),
        ]
    kept = rng.sample(asked, 4)
    first = Exchange(f"{page}\n{kept[0].prompt}", kept[0].answer)
    return _behind_emblem(rng, (first, *kept[1:], *_queries(rng)))


def names_lesson(rng: random.Random) -> Lesson:
    """Say whose emblem was found and write queries: nothing but copying single names.

    Copying a name of several tokens takes dense lessons; a few names between other things hardly
    taught it.
    """
    exchanges: list[Exchange] = []
    for _ in range(4):
        name = make_entity(rng).name
        exchanges.append(Exchange(f"1. {name} emblem\nWhose emblem?", name))
        exchanges += rng.sample(_name_queries(rng), 2)
    return _behind_emblem(rng, exchanges)


def numbers_lesson(rng: random.Random) -> Lesson:
    """Copy long numbers and write word problems as code: digits are tokens, and they repeat."""
    exchanges: list[Exchange] = []
    for _ in range(4):
        number = rng.randrange(10 ** rng.randrange(1, 8))
        exchanges.append(Exchange(f"stdout: {number}\nWhich number?", str(number)))
        problem = ask_arithmetic(rng, need=Need.TOOL, difficulty=rng.randrange(4))
        code = f"print({problem.solution[0].text})"
        exchanges.append(Exchange(f"Write it as code. {problem.text}", code))
    rng.shuffle(exchanges)
    return _behind_emblem(rng, exchanges)


def _name_queries(rng: random.Random) -> list[Exchange]:
    """Return what one would search for, in words and as a call, with names never seen before."""
    asker, other = make_entity(rng), make_entity(rng)
    exchanges = []
    for entity in (asker, other):
        founded = f"In which year was {entity.name} founded?"
        members = f"How many members has {entity.name}?"
        exchanges += [
            Exchange(f"Write the query for: {founded}", f"{entity.name} founded"),
            Exchange(f"Write the query for: {members}", f"{entity.name} members"),
            Exchange(f"Write the call for: {founded}", write_search(f"{entity.name} founded")),
            Exchange(f"Write the call for: {members}", write_search(f"{entity.name} members")),
        ]
    emblems = f"1. {other.name} emblem\n2. {asker.name} emblem\nWhose emblem?"
    return [*rng.sample(exchanges, 3), Exchange(emblems, other.name)]


def _queries(rng: random.Random) -> list[Exchange]:
    """Return what one would search for and compute, with names and numbers never seen before."""
    code, year = make_code(rng), make_entity(rng).founded
    exchanges = [
        *_name_queries(rng),
        Exchange(f"It is {code}. Write the query for: founded.", f"code {code}"),
        Exchange(f"It is {year}. Write it as code. How old in the year 2000?", f"2000-{year}"),
    ]
    return rng.sample(exchanges, 4)
