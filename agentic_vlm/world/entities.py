"""Fictional entities with emblems, and the encyclopedia that tells about them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_vlm.world.drawing import COLOURS, derive_rng

_ONSETS = [
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "z",
    "br",
    "dr",
    "gr",
    "kr",
    "st",
    "tr",
]
_VOWELS = ["a", "e", "i", "o", "u"]
_CODAS = ["", "l", "n", "r", "s"]
_SYLLABLES = [onset + vowel + coda for onset in _ONSETS for vowel in _VOWELS for coda in _CODAS]
_KINDS = ["guild", "mill", "college", "shipyard", "brewery", "theatre", "bank", "museum"]
_LETTERS = "ACDEFHKLMNPRTUVXYZ"
EMBLEM_CELLS = 7
_MIN_EMBLEM_DISTANCE = 6
NUM_FAMOUS = 24
"""Entities whose facts the base model has read in its pretraining text."""


@dataclass(frozen=True, slots=True)
class Emblem:
    """A mirrored 7 x 7 pattern in one colour on another."""

    pattern: int
    """28 bits, row by row, of the left four columns."""
    colour: str
    """Colour of the pattern."""
    ground: str
    """Colour of the ground."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Something with a name, a registry code, an emblem and two facts."""

    name: str
    kind: str
    founded: int
    """Year, 1600 to 1999."""
    members: int
    """100 to 999."""
    code: str
    """One letter and two digits, unique."""
    emblem: Emblem
    is_held_out: bool
    """Held-out entities appear in no training sample and in no pretraining text."""
    is_famous: bool
    """Known to the base model."""


@dataclass(frozen=True, slots=True)
class Article:
    """A page of the encyclopedia."""

    article_id: str
    title: str
    text: str
    date: str
    """ISO date of publication."""
    link: str


def make_name(rng: random.Random, *, num_syllables: int = 2) -> str:
    """Return a name, by default of two syllables: three to four tokens.

    Of names of three syllables, five to six tokens, the base copied one in twenty after 4,000
    lessons of copying.
    """
    return "".join(rng.choice(_SYLLABLES) for _ in range(num_syllables)).capitalize()


def make_code(rng: random.Random) -> str:
    """Return a code such as K47."""
    return f"{rng.choice(_LETTERS)}{rng.randrange(10, 100)}"


def make_emblem(rng: random.Random) -> Emblem:
    """Return a random emblem with two different colours."""
    colour, ground = rng.sample(sorted(COLOURS), 2)
    return Emblem(pattern=rng.getrandbits(4 * EMBLEM_CELLS), colour=colour, ground=ground)


def build_entities(
    seed: int, *, num_entities: int, held_out_share: float, num_syllables: int = 2
) -> list[Entity]:
    """Return entities with unique names and codes and emblems that differ clearly.

    Raises:
        ValueError: more entities than there are codes.
    """
    num_codes = len(_LETTERS) * 90
    if num_entities > num_codes:
        raise ValueError(
            f"at most {num_codes} entities have a code of their own, got {num_entities}"
        )
    rng = derive_rng(seed, "entities")
    codes = _shuffled_codes(rng)
    names: set[str] = set()
    patterns: list[int] = []
    entities: list[Entity] = []
    num_train = round(num_entities * (1 - held_out_share))
    for index in range(num_entities):
        name = make_name(rng, num_syllables=num_syllables)
        while name in names:
            name = make_name(rng, num_syllables=num_syllables)
        emblem = _distinct_emblem(rng, patterns)
        names.add(name)
        patterns.append(emblem.pattern)
        entities.append(
            Entity(
                name=name,
                kind=rng.choice(_KINDS),
                founded=rng.randrange(1600, 2000),
                members=rng.randrange(100, 1000),
                code=codes[index],
                emblem=emblem,
                is_held_out=index >= num_train,
                is_famous=index < min(NUM_FAMOUS, num_train),
            )
        )
    return entities


def make_entity(rng: random.Random) -> Entity:
    """Return an entity that is in no encyclopedia, to practise reading with.

    What is read about entities that come up again and again would be learned by heart instead.
    """
    return Entity(
        name=make_name(rng),
        kind=rng.choice(_KINDS),
        founded=rng.randrange(1600, 2000),
        members=rng.randrange(100, 1000),
        code=make_code(rng),
        emblem=make_emblem(rng),
        is_held_out=False,
        is_famous=False,
    )


def _shuffled_codes(rng: random.Random) -> list[str]:
    codes = [f"{letter}{number}" for letter in _LETTERS for number in range(10, 100)]
    rng.shuffle(codes)
    return codes


def _distinct_emblem(rng: random.Random, patterns: Sequence[int]) -> Emblem:
    """Return an emblem that differs clearly from all patterns."""
    emblem = make_emblem(rng)
    while any((emblem.pattern ^ other).bit_count() < _MIN_EMBLEM_DISTANCE for other in patterns):
        emblem = make_emblem(rng)
    return emblem


def article_text(entity: Entity) -> str:
    """Return the article about an entity; it holds every fact that questions ask for."""
    return (
        f"{entity.name} is a {entity.kind} founded in {entity.founded}. "
        f"It has {entity.members} members. Code {entity.code}."
    )


def build_articles(entities: list[Entity], seed: int, *, num_articles: int) -> list[Article]:
    """Return the encyclopedia: one article per entity, the rest about places nobody asks for."""
    rng = derive_rng(seed, "articles")
    taken = {entity.name for entity in entities}
    pages = [(entity.name, article_text(entity)) for entity in entities]
    while len(pages) < num_articles:
        name = make_name(rng)
        if name in taken:
            continue
        taken.add(name)
        river, people = make_name(rng), rng.randrange(100, 1000)
        pages.append((name, f"{name} is a village on the river {river}. It has {people} people."))
    return [
        Article(
            article_id=f"a{number:05d}",
            title=title,
            text=text,
            date=f"20{rng.randrange(10, 25)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
            link=f"https://encyclopedia.example/{title.lower()}",
        )
        for number, (title, text) in enumerate(pages)
    ]
