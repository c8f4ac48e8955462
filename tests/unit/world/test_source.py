import pytest
from PIL import Image

from agentic_vlm.params import FamilyCounts, WorldSource
from agentic_vlm.schema import Need
from agentic_vlm.store import ImageWriter
from agentic_vlm.world.__main__ import main
from agentic_vlm.world.source import (
    articles_of,
    emblem_pages,
    entities_of,
    iter_suite,
    iter_train,
)

FEW = FamilyCounts(perception=5, reasoning=5, search=5, integration=5, text=5)
SOURCE = WorldSource(
    num_train=FEW,
    tool_share=0.6,
    num_eval_tool=FEW,
    num_eval_direct=FEW,
    num_entities=60,
    num_articles=80,
)


@pytest.fixture
def images(tmp_path):
    return ImageWriter(tmp_path / "images")


def test_training_samples_never_ask_for_held_out_entities(images):
    entities = entities_of(SOURCE)
    secrets = {e.name for e in entities if e.is_held_out} | {
        e.code for e in entities if e.is_held_out
    }
    for sample in iter_train(SOURCE, entities, images):
        words = " ".join([sample.question, *(step.text for step in sample.solution)])
        assert not secrets & set(words.replace("?", "").split())


def test_the_suite_asks_for_held_out_entities_only(images):
    entities = entities_of(SOURCE)
    known = {entity.name for entity in entities if not entity.is_held_out}
    for sample in iter_suite(SOURCE, entities, images):
        words = " ".join([sample.question, *(step.text for step in sample.solution)])
        assert not known & set(words.replace("?", "").split())


def test_tool_share_splits_every_family(images):
    samples = list(iter_train(SOURCE, entities_of(SOURCE), images))
    assert len(samples) == 25
    assert sum(sample.need is Need.TOOL for sample in samples) == 15
    assert all((sample.images == ()) is (sample.family == "text") for sample in samples)


def test_every_emblem_has_a_page_that_links_to_its_owner():
    entities = entities_of(SOURCE)
    articles = articles_of(SOURCE, entities)
    links = {article.link for article in articles}
    pages = list(emblem_pages(entities, articles))
    assert len(pages) == 60
    assert all(page.link in links for page in pages)


def test_the_contact_sheet_is_a_picture(tmp_path):
    out = tmp_path / "new" / "sheet.png"
    assert main(["show", "--out", str(out), "--split", "pocket"]) == 0
    assert Image.open(out).height > 3000
