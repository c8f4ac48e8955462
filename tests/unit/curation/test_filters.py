import io
import random

import pytest
from PIL import Image, ImageDraw

from agentic_vlm.curation.decontaminate import SuiteFilter
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.curation.picture_match import PictureFinder, kept_looks
from agentic_vlm.curation.pictures import view_picture
from agentic_vlm.params import CurateParams
from agentic_vlm.schema import CuratedSample, ImageRef, Rejection, RejectReason
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

PARAMS = CurateParams()
LONG = "Tom has 3 boxes with 4 pens each and gives 2 of the pens away. How many are left now?"


def scene(seed):
    return make_plates(derive_rng("test", seed), difficulty=1).render(random.Random(0))


def as_jpeg(image):
    file = io.BytesIO()
    image.resize((400, 400)).save(file, "JPEG", quality=70)
    return Image.open(file)


def ref(number):
    return ImageRef(sha256=f"{number:064x}", width_px=448, height_px=448)


def views(*images):
    return {ref(number).sha256: view_picture(image) for number, image in enumerate(images)}


def check_all(samples, view_of):
    duplicates = DuplicateFilter(view_of, params=PARAMS)
    return [
        found.reason if (found := duplicates.check(sample)) is not None else None
        for sample in samples
    ]


def test_the_same_id_is_an_exact_duplicate(make_sample):
    first = make_sample()
    second = make_sample(source_row_id="1")
    assert check_all([first, second], {}) == [None, RejectReason.EXACT_DUPLICATE]


@pytest.mark.parametrize(
    ("question", "answer", "is_double"),
    [
        (LONG.replace("How many are", "How many pens are"), "10", True),
        (LONG.replace("4 pens", "5 pens"), "10", False),
        (LONG.replace("Tom", "Mia"), "10", False),
        (LONG.replace("How many are", "How many pens are"), "11", False),
    ],
)
def test_near_questions_without_pictures_need_equal_numbers_names_and_answers(
    make_sample, question, answer, is_double
):
    first = make_sample(question=LONG, answer="10", answer_type="integer")
    second = make_sample(question=question, answer=answer, answer_type="integer")
    expected = RejectReason.NEAR_DUPLICATE if is_double else None
    assert check_all([first, second], {}) == [None, expected]


@pytest.mark.parametrize(("is_same", "answer"), [(True, "K47"), (True, "K48"), (False, "K47")])
def test_with_pictures_the_same_picture_is_needed_too(make_sample, is_same, answer):
    original = scene(1)
    other = as_jpeg(original) if is_same else scene(2)
    question = "What is the label on the red plate?"
    samples = [
        make_sample(sample_id=name, question=question, answer=text, images=(ref(number),))
        for name, text, number in (("a", "K47", 0), ("b", answer, 1))
    ]
    is_double = is_same and answer == "K47"
    expected = [None, RejectReason.NEAR_DUPLICATE if is_double else None]
    assert check_all(samples, views(original, other)) == expected


def test_another_question_about_a_suite_picture_is_contaminated(make_sample):
    original = scene(1)
    held_out = make_sample(sample_id="h", split="pocket", images=(ref(0),))
    train = make_sample(sample_id="t", question="how many?", images=(ref(1),))
    clean = make_sample(sample_id="c", question="how many?", images=(ref(2),))
    suite = SuiteFilter([held_out], views(original, as_jpeg(original), scene(2)), params=PARAMS)
    found = suite.check(train)
    assert found is not None
    assert found.reason is RejectReason.CONTAMINATED
    assert "pocket/test:0" in found.evidence
    assert suite.check(clean) is None


@pytest.mark.parametrize(
    ("question", "is_caught"),
    [
        ("Listen. " + LONG, True),
        (LONG.replace("3", "6"), False),
        ("How many pens has Tom?", False),
    ],
)
def test_text_alone_counts_for_long_questions_without_pictures(make_sample, question, is_caught):
    held_out = [
        make_sample(sample_id="h", question=LONG, split="pocket"),
        make_sample(sample_id="s", question="How many pens has Tom?", split="pocket"),
    ]
    suite = SuiteFilter(held_out, {}, params=PARAMS)
    found = suite.check(make_sample(sample_id="t", question=question))
    assert (found is not None) is is_caught


def test_scenes_of_the_world_are_never_taken_for_each_other():
    scenes = {str(seed): view_picture(scene(seed)) for seed in range(60)}
    finder = PictureFinder(scenes, kept_looks(scenes), max_distance=4)
    for name in scenes:
        finder.add(name)
    assert all(finder.find(name) == [name] for name in scenes)


def test_looking_among_many_finds_what_looking_at_each_finds(monkeypatch):
    monkeypatch.setattr("agentic_vlm.curation.picture_hashes._BLOCK", 7)
    monkeypatch.setattr("agentic_vlm.curation.alignment._THUMBS_AT_ONCE", 3)
    originals = [scene(seed) for seed in range(3)]
    numbers = [sheet("lavender", ((str(at), "57"), ("3", str(9 * at)))) for at in range(5)]
    seen = {f"{at:02d}": image for at, image in enumerate([*originals, *numbers])}
    seen |= {f"{name} jpeg": as_jpeg(image) for name, image in list(seen.items())[::3]}
    for name, image in list(seen.items())[:8]:
        width, height = round(0.95 * image.width), round(0.95 * image.height)
        seen[f"{name} crop"] = image.crop((9, 4, 9 + width, 4 + height))
    looked = {name: view_picture(image) for name, image in seen.items()}
    finder = PictureFinder(looked, kept_looks(looked), max_distance=4)
    for name in looked:
        finder.add(name)
    found = {name: finder.find(name) for name in looked}
    for name, others in found.items():
        assert others == sorted(other for other in looked if finder.is_same(name, other))
    assert sum(map(len, found.values())) > len(looked) + 8


def sheet(ground, numbers):
    picture = Image.new("RGB", (448, 448), ground)
    picture.paste("white", (28, 0, 420, 448))
    pen = ImageDraw.Draw(picture)
    for row, (colour, texts) in enumerate(zip(("brown", "green"), numbers, strict=True)):
        top = 236 + 56 * row
        picture.paste(colour, (64, top, 105, top + 33))
        for left, text in zip((190, 294), texts, strict=True):
            pen.text((left, top + 4), text, fill="black", font_size=22)
    return picture


def test_sheets_of_one_layout_with_other_numbers_are_different_and_their_crops_are_found():
    first = sheet("lavender", (("6", "57"), ("3", "23")))
    second = sheet("mistyrose", (("7", "3"), ("8", "3")))
    crop = first.crop((10, 5, 10 + 426, 5 + 426))
    seen = {"first": first, "second": second, "crop": crop}
    looked = {name: view_picture(image) for name, image in seen.items()}
    finder = PictureFinder(looked, kept_looks(looked), max_distance=4)
    assert finder.is_same("first", "crop")
    assert finder.is_same("crop", "first")
    assert not finder.is_same("first", "second")
    assert not finder.is_same("second", "first")


def test_normalising_gives_a_type_and_rejects_what_nobody_can_check(make_sample):
    raw = make_sample(question=" what\u00a0is  it? ", answer=" 1,234 ").model_copy(
        update={"answer_type": None}
    )
    sample = normalise_sample(raw, PARAMS)
    assert isinstance(sample, CuratedSample)
    assert (sample.question, sample.answer_type) == ("what is it?", "integer")
    rejected = normalise_sample(make_sample(answer="?!"), PARAMS)
    assert isinstance(rejected, Rejection)
    assert rejected.reason is RejectReason.NOT_VERIFIABLE


@pytest.mark.parametrize("size", [(27, 100), (28, 5700), (5000, 4000)])
def test_a_picture_outside_the_limits_is_rejected(make_sample, size):
    small = ImageRef(sha256="0" * 64, width_px=size[0], height_px=size[1])
    rejected = normalise_sample(make_sample(images=(small,)), PARAMS)
    assert rejected.reason is RejectReason.IMAGE_OUTSIDE_LIMITS
