import json
import random
import re

import pytest

from agentic_vlm.params import load_params
from agentic_vlm.training.pretrain import LessonBatches, PretrainPlan
from agentic_vlm.training.pretrain_calls import make_calls_lesson
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


@pytest.mark.parametrize("maker", [chart_lesson, receipt_lesson])
def test_what_comes_next_is_what_stands_next_in_the_order(maker):
    for seed in range(20):
        lesson = {e.prompt: e.answer for e in maker(random.Random(seed))}
        order = next(a for q, a in lesson.items() if q.startswith("Name the")).split(", ")
        asked, following = next((q, a) for q, a in lesson.items() if " comes " in q)
        colour = asked.split()[-2]
        assert order.index(following) == order.index(colour) + 1


def _queries(lesson):
    """Return where a name stands last before a query, and the query."""
    before = ""
    for exchange in lesson:
        before += f" {exchange.prompt} {exchange.answer.split('<tool_call>')[0]}"
        for call in re.findall(r"<tool_call>(.*)</tool_call>", exchange.answer):
            query = json.loads(call).get("arguments", {}).get("query")
            if query:
                yield before, query


def test_queries_of_first_calls_name_what_was_asked_or_found():
    params = load_params().agent
    lessons = [make_calls_lesson(random.Random(seed), params) for seed in range(60)]
    queries = [found for lesson in lessons for found in _queries(lesson)]
    assert len(queries) >= 60
    assert all(query.split()[0] in before for before, query in queries)


def test_first_calls_stand_in_the_forms_of_the_loop():
    params = load_params().agent
    for seed in range(40):
        first, *others = make_calls_lesson(random.Random(seed), params)
        assert first.system.startswith("Think in <think></think>")
        assert not any(other.system or other.pictures for other in others)
        for exchange in (first, *others):
            assert f"{exchange.prefill}{exchange.answer}".startswith("<think>")
            assert exchange.answer.endswith(("</code>", "</tool_call>", "</answer>"))
            if exchange.answer.endswith("</answer>"):
                fact = re.search(r"<answer>(.*)</answer>", exchange.answer)[1]
                assert fact in exchange.prompt.splitlines()[0]


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
