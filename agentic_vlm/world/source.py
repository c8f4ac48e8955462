"""The pocket world as a source: samples for training, a held-out suite, and a corpus to search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentic_vlm.params import FamilyCounts, WorldSource
from agentic_vlm.schema import Need, RawSample, content_id
from agentic_vlm.store import ImageWriter
from agentic_vlm.vision import encode_png
from agentic_vlm.world.entities import Article, Entity, build_articles, build_entities
from agentic_vlm.world.samples import FAMILIES, WorldSample, make_sample
from agentic_vlm.world.scenes import draw_emblem

TRAIN = "train"
"""Split of samples to learn from."""
_HELD_OUT_SHARE = 0.25
_EMBLEM_PX = 96


@dataclass(frozen=True, slots=True)
class EmblemPage:
    """A page of the picture gallery."""

    link: str
    title: str
    png: bytes


def entities_of(source: WorldSource) -> list[Entity]:
    """Return all entities of the world."""
    return build_entities(
        source.seed, num_entities=source.num_entities, held_out_share=_HELD_OUT_SHARE
    )


def articles_of(source: WorldSource, entities: Sequence[Entity]) -> list[Article]:
    """Return the encyclopedia: every entity has a page, held-out ones too."""
    return build_articles(list(entities), source.seed, num_articles=source.num_articles)


def emblem_pages(entities: Sequence[Entity], articles: Sequence[Article]) -> Iterator[EmblemPage]:
    """Yield one page per emblem, with the address of its owner's article."""
    links = {article.title: article.link for article in articles}
    for entity in entities:
        png = encode_png(draw_emblem(entity.emblem, size_px=_EMBLEM_PX))
        yield EmblemPage(link=links[entity.name], title=f"{entity.name} emblem", png=png)


def iter_train(
    source: WorldSource, entities: Sequence[Entity], images: ImageWriter
) -> Iterator[RawSample]:
    """Yield the training samples; only entities that are not held out appear in them."""
    known = [entity for entity in entities if not entity.is_held_out]
    for family, count in _by_family(source.num_train):
        num_tool = round(count * source.tool_share)
        for need, number in ((Need.TOOL, num_tool), (Need.DIRECT, count - num_tool)):
            for index in range(number):
                sample = make_sample(
                    source.seed, split=TRAIN, family=family, need=need, index=index, entities=known
                )
                yield _to_raw(sample, source, images)


def iter_suite(
    source: WorldSource, entities: Sequence[Entity], images: ImageWriter
) -> Iterator[RawSample]:
    """Yield the samples of the suite; only held-out entities appear in them."""
    held_out = [entity for entity in entities if entity.is_held_out]
    needs = ((Need.TOOL, source.num_eval_tool), (Need.DIRECT, source.num_eval_direct))
    for need, counts in needs:
        for family, count in _by_family(counts):
            for index in range(count):
                sample = make_sample(
                    source.seed,
                    split=source.suite,
                    family=family,
                    need=need,
                    index=index,
                    entities=held_out,
                )
                yield _to_raw(sample, source, images)


def _by_family(counts: FamilyCounts) -> Iterator[tuple[str, int]]:
    numbers: dict[str, int] = counts.model_dump()
    for family in FAMILIES:
        yield family, numbers[family]


def _to_raw(sample: WorldSample, source: WorldSource, images: ImageWriter) -> RawSample:
    question = sample.question
    refs = () if sample.picture is None else (images.add(sample.picture, where=sample.row_id),)
    return RawSample(
        sample_id=content_id(question.text, question.answer, *(ref.sha256 for ref in refs)),
        source=source.name,
        source_row_id=sample.row_id,
        split=sample.split,
        family=sample.family,
        need=question.need,
        template=question.template,
        difficulty=sample.difficulty,
        question=question.text,
        answer=question.answer,
        answer_type=question.answer_type,
        images=refs,
        flags=question.flags,
        solution=question.solution,
    )
