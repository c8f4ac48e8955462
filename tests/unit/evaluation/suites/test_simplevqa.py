"""SimpleVQA: a judge of three values, and the figures that follow from them."""

import asyncio

import pytest

from agentic_vlm.evaluation.marking import mark_answer
from agentic_vlm.evaluation.run import grade_trajectories, iter_scores
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.item import to_sample
from agentic_vlm.grading import Attempt, Mode, NoJudge
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import StopReason, Verdict

RIGHT, WRONG, OPEN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNGRADED
# What a careful reader says of answers to the question below.
SAID = {
    "the Eiffel tower, I believe": Attempt.CORRECT,
    "Big Ben": Attempt.INCORRECT,
    "I cannot tell": Attempt.NOT_ATTEMPTED,
    "hm": Attempt.UNDECIDED,
}


class Reader:
    """A judge of three values that knows what a reader says."""

    def __init__(self):
        self.asked = []

    async def judge(self, question, *, answer, references):
        self.asked.append(("verdict", answer))
        return SAID[answer].verdict

    async def judge_attempt(self, question, *, answer, references):
        self.asked.append(("attempt", answer))
        return SAID[answer]


@pytest.fixture
def sample(jsonl, read, pictures):
    row = {"data_id": 5, "image": pictures.b64("red"), "language": "EN", "question": "What is it?",
           "answer": "Eiffel Tower", "vqa_category": "place"}  # fmt: skip
    (item,) = read("simplevqa", jsonl("SimpleVQA.jsonl", row))
    return to_sample(item, (), suite="simplevqa", family="search")


def mark(sample, answer, *, judge, mode=Mode.OFFICIAL):
    work = mark_answer(answer, sample, judge=judge, params=GradingParams(), mode=mode)
    return asyncio.run(work)


@pytest.mark.parametrize(
    ("answer", "verdict", "is_attempted"),
    [
        ("the Eiffel tower, I believe", RIGHT, True),
        ("Big Ben", WRONG, True),
        ("I cannot tell", WRONG, False),
        ("hm", OPEN, None),
        # Equal texts and no answer at all need no judge.
        ("eiffel tower", RIGHT, True),
        (None, WRONG, False),
    ],
)
def test_the_judge_tells_what_was_not_attempted(sample, answer, verdict, is_attempted):
    judge = Reader()
    grade = mark(sample, answer, judge=judge)
    assert (grade.verdict, grade.is_attempted) == (verdict, is_attempted)
    assert judge.asked == ([("attempt", answer)] if answer in SAID else [])
    assert (grade.rule == "judge") is (answer in SAID)


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.STRICT])
def test_other_rules_ask_for_a_verdict_alone(sample, mode):
    judge = Reader()
    grade = mark(sample, "Big Ben", judge=judge, mode=mode)
    assert (grade.verdict, grade.is_attempted) == (WRONG, None)
    assert judge.asked == [("verdict", "Big Ben")]


def test_a_judge_of_two_values_leaves_the_answer_open(sample):
    class TwoValues:
        async def judge(self, question, *, answer, references):
            raise AssertionError("asked by another prompt")

    grade = mark(sample, "Big Ben", judge=TwoValues())
    assert (grade.verdict, grade.is_attempted) == (OPEN, None)
    assert grade.reason.endswith("tells no attempts")
    assert mark(sample, "Big Ben", judge=NoJudge()).verdict is OPEN


@pytest.fixture
def figures(sample, make_trajectory):
    """Give a function from answers, and the rules, to the figures of the suite by name."""

    def compute(*answers, mode=Mode.OFFICIAL, num_outages=0):
        samples, rows = {}, []
        for place, answer in enumerate((*answers, *[None] * num_outages)):
            name = f"s{place}"
            samples[name] = sample.model_copy(update={"sample_id": name})
            is_outage = place >= len(answers)
            stop = StopReason.INFRASTRUCTURE if is_outage else StopReason.ANSWER
            rows.append(
                make_trajectory(
                    trajectory_id=f"t{place}", sample_id=name, answer=answer, stop_reason=stop
                )
            )
        work = grade_trajectories(rows, samples, judge=Reader(), params=GradingParams(), mode=mode)
        graded = asyncio.run(work)
        scores = list(iter_scores(graded, {"simplevqa": list(samples.values())}, model="m"))
        return {figure.name: figure for figure in SUITES["simplevqa"].aggregate(scores)}

    return compute


RIGHT_ONE, WRONG_ONE, NO_ONE, OPEN_ONE = SAID


def test_the_figures_are_those_of_the_authors(figures):
    """Four right, two wrong, two not attempted: CO 4/8, IN 2/8, NA 2/8, CGA 4/6, F 2*4/(6+8)."""
    found = figures(*[RIGHT_ONE] * 4, *[WRONG_ONE] * 2, *[NO_ONE] * 2)
    means = {name: figure.mean for name, figure in found.items()}
    for part in ("English part", "all questions"):
        assert means[part] == 0.5
        assert means[f"{part}: incorrect"] == means[f"{part}: not attempted"] == 0.25
        assert means[f"{part}: correct given attempted"] == pytest.approx(4 / 6)
        assert means[f"{part}: F-score"] == pytest.approx(4 / 7)
    assert next(iter(found)) == "English part"
    for figure in found.values():
        assert figure.low < figure.mean < figure.high
        assert figure.n == 8


def test_undecided_answers_are_in_no_mean_and_in_both_bounds(figures):
    """One right, one wrong, one not attempted, one undecided, one ended by an outage of ours."""
    found = figures(RIGHT_ONE, WRONG_ONE, NO_ONE, OPEN_ONE, num_outages=1)

    def bounds(name):
        figure = found[f"English part{name}"]
        assert figure.num_ungraded == 2
        return figure.mean, figure.lowest, figure.highest

    assert bounds("") == pytest.approx((1 / 3, 1 / 5, 3 / 5))
    assert bounds(": not attempted") == pytest.approx((1 / 3, 1 / 5, 3 / 5))
    assert bounds(": incorrect") == pytest.approx((1 / 3, 1 / 5, 3 / 5))
    assert bounds(": correct given attempted") == pytest.approx((1 / 2, 1 / 4, 3 / 4))
    assert bounds(": F-score") == pytest.approx((2 / 5, 2 / 9, 6 / 9))


def test_nothing_attempted_gives_no_share_of_it(figures):
    found = figures(NO_ONE, NO_ONE)
    assert found["English part: correct given attempted"].mean is None
    assert found["English part: F-score"].mean == 0.0
    assert found["English part: not attempted"].mean == 1.0


def test_other_rules_have_the_share_of_right_answers_only(figures):
    found = figures(RIGHT_ONE, NO_ONE, mode=Mode.STRICT)
    assert [name for name in found if ":" in name] == []
    assert found["English part"].mean == 0.5
