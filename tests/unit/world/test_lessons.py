import random

import pytest

from agentic_vlm.params import load_params
from agentic_vlm.training.pretrain import LessonBatches, PretrainPlan
from agentic_vlm.world.copying import copy_lesson, names_lesson, numbers_lesson
from agentic_vlm.world.lessons import chart_lesson, receipt_lesson

TEXT_ONLY = (names_lesson, numbers_lesson, copy_lesson)


@pytest.mark.parametrize("maker", [*TEXT_ONLY, chart_lesson, receipt_lesson])
def test_equal_seeds_give_equal_lessons(maker):
    first, second = (maker(random.Random(3)) for _ in range(2))
    assert [(e.prompt, e.answer) for e in first] == [(e.prompt, e.answer) for e in second]


@pytest.mark.parametrize("maker", [names_lesson, numbers_lesson])
def test_what_is_to_be_copied_stands_in_the_question(maker):
    copies = [
        exchange
        for seed in range(20)
        for exchange in maker(random.Random(seed))
        if exchange.prompt.endswith(("Whose emblem?", "Which number?"))
    ]
    assert len(copies) >= 40
    assert all(exchange.answer in exchange.prompt for exchange in copies)


def test_sums_note_each_value_by_its_colour_first():
    for seed in range(20):
        lesson = {e.prompt: e.answer for e in chart_lesson(random.Random(seed))}
        notes, expression = lesson["Write the sum of all bars."].split(". ")
        assert [note.split()[1] for note in notes.split(", ")] == expression.split("+")


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)])
def test_a_share_of_the_lessons_stands_behind_the_system_message(share, low, high):
    plan = PretrainPlan(
        name="prompted",
        num_steps=10,
        batch_size=2,
        learning_rate=1e-3,
        decay_share=0.0,
        seed=0,
        save_every=10,
        focus=TEXT_ONLY,
        focus_share=1.0,
        system_share=share,
    )
    batches = LessonBatches(plan, None, [], load_params().agent, first_step=0)
    lessons = [batches._lesson(0, random.Random(seed)) for seed in range(200)]
    assert low <= sum(lesson[0].system != "" for lesson in lessons) <= high
    assert all(exchange.system == "" for lesson in lessons for exchange in lesson[1:])
    for lesson in lessons:
        is_short = ["answer only" in exchange.prompt for exchange in lesson]
        assert all(is_short) if lesson[0].system else not any(is_short)
