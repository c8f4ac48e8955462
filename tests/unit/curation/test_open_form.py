import pytest

from agentic_vlm.curation.normalise import normalise_sample
from agentic_vlm.params import CurateParams

OPENS = CurateParams(opens_choices=True)
COLOURS = "\n(A) red\n(B) dark blue\n(C) green"


@pytest.mark.parametrize(
    ("question", "answer", "opened"),
    [
        ("What colour is the door?" + COLOURS, "B", ("What colour is the door?", "dark blue")),
        ("How many?\n(A) 3\n(B) 12", "(B)", ("How many?", "12")),
        ("Which of the doors is it?" + COLOURS, "B", None),
        ("What colour is it not?" + COLOURS, "B", None),
        ("What colour?\n(A) red\n(B) none of these", "A", None),
        ("What is it?\n(A) picture 2\n(B) picture 3", "A", None),
        ("The colour is" + COLOURS, "A", None),
        ("What colour?" + COLOURS, "D", None),
        ("What colour?", "B", None),
    ],
)
def test_choices_become_open_questions_where_these_stand_alone(
    make_sample, question, answer, opened
):
    raw = make_sample(question=question, answer=answer, answer_type="choice")
    sample = normalise_sample(raw, OPENS)
    assert (sample.question, sample.answer) == (opened or (question, answer))
    assert sample.sample_id == raw.sample_id
    assert normalise_sample(raw, CurateParams()).answer == answer


def test_an_opened_question_gets_the_type_of_its_answer(make_sample):
    raw = make_sample(question="How many?\n(A) 3\n(B) 12", answer="B", answer_type="choice")
    assert normalise_sample(raw, OPENS).answer_type == "integer"
