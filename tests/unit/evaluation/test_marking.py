"""Published suites are marked by their own rule and the mode; all others by the answer's type."""

import asyncio

import pytest

from agentic_vlm.evaluation.marking import answer_of, mark_answer, modes_told
from agentic_vlm.evaluation.suites import SUITES, SuiteItem, to_sample
from agentic_vlm.grading import Mode, NoJudge
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, StopReason, Verdict

STRICT, OFFICIAL, PAPER = Mode.STRICT, Mode.OFFICIAL, Mode.PAPER
RIGHT, WRONG, OPEN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNGRADED


class Kind:
    """A judge that says the same of every answer."""

    def __init__(self, verdict):
        self.verdict, self.asked = verdict, []

    async def judge(self, question, *, answer, references):
        self.asked.append((question, answer, references))
        return self.verdict


def item_of(answer, kind, rule, **fields):
    fields.setdefault("question", "How much?")
    return SuiteItem(item_id="0", answer=answer, answer_type=kind, rule=rule, **fields)


def mark(item, answer, mode, *, judge=None, suite="chartqa"):
    sample = to_sample(item, [], suite=suite, family="reasoning")
    return asyncio.run(
        mark_answer(answer, sample, judge=judge or NoJudge(), params=GradingParams(), mode=mode)
    )


CHART = item_of("50", AnswerType.INTEGER, "relaxed")
COUNT = item_of("3", AnswerType.INTEGER, "count")
LETTER = item_of("B", AnswerType.CHOICE, "letter", options=("a dog", "a cat", "Neither"))
OPTION = item_of("B", AnswerType.CHOICE, "option", options=("red", "blue", "None"))
NONE = item_of("C", AnswerType.CHOICE, "choice", options=("red", "blue", "None"))
LETTERS = item_of("A, C", AnswerType.LIST, "letters")
ROOT = item_of(r"10\sqrt{2}", AnswerType.MATH, "math")
FLOAT = item_of("1.3", AnswerType.FLOAT, "float", labels={"precision": "1"})
NAMES = item_of("[1, 2]", AnswerType.LIST, "list")
LENGTH = item_of("3.500", AnswerType.FLOAT, "dynamath_float")
CIRCLE = item_of("2.094", AnswerType.FLOAT, "dynamath_float")
VERTEX = item_of("E", AnswerType.CHOICE, "dynamath_choice")
PARITY = item_of("even", AnswerType.TEXT, "dynamath_text")
DECIMAL = item_of("1.5", AnswerType.TEXT, "text")
EMPTY_WORD = item_of("no", AnswerType.TEXT, "ocr")


@pytest.mark.parametrize(
    ("item", "answer", "strict", "official", "paper"),
    [
        # ChartQA: five per cent of the gold; the fork swaps gold and answer, then asks a judge.
        (CHART, "52.5", RIGHT, RIGHT, RIGHT),
        (CHART, "52.6", WRONG, WRONG, RIGHT),
        (CHART, "47.6", RIGHT, RIGHT, OPEN),
        # CountBench: 13 holds 3.
        (COUNT, "13", WRONG, WRONG, RIGHT),
        (COUNT, "three", RIGHT, RIGHT, WRONG),
        # MME-RealWorld: the first capital letter, whatever it begins.
        (LETTER, "Best answer: B", RIGHT, RIGHT, RIGHT),
        (LETTER, "B", RIGHT, RIGHT, RIGHT),
        (LETTER, "Being a cat, B", RIGHT, RIGHT, RIGHT),
        # MathVista: the nearest option by edit distance.
        (OPTION, "B", RIGHT, RIGHT, RIGHT),
        (OPTION, "blues", OPEN, RIGHT, RIGHT),
        # An option whose text pandas takes for a missing cell.
        (NONE, "None", RIGHT, RIGHT, OPEN),
        # LogicVista: a gold of several letters.
        (LETTERS, "C, A", RIGHT, RIGHT, OPEN),
        (LETTERS, "AC", RIGHT, RIGHT, RIGHT),
        # MathVision: irrational answers must match letter by letter in the fork.
        (ROOT, r"10 \sqrt{2}", RIGHT, RIGHT, WRONG),
        (ROOT, r"10\sqrt{3}", WRONG, WRONG, WRONG),
        # MathVista: the precision of the question.
        (FLOAT, "1.31", RIGHT, RIGHT, WRONG),
        # MathVista: lists are compared with the word None in the fork.
        (NAMES, "[1, 2]", RIGHT, RIGHT, WRONG),
        # DynaMath: a thousandth in binary arithmetic, the first word, what follows pi is lost.
        (LENGTH, "3.5009", RIGHT, RIGHT, RIGHT),
        (LENGTH, "3.502", WRONG, WRONG, WRONG),
        (LENGTH, "3.5 or 4", OPEN, RIGHT, RIGHT),
        (LENGTH, "length: 3.5", RIGHT, OPEN, OPEN),
        (CIRCLE, "2\u03c0/3", RIGHT, WRONG, WRONG),
        # DynaMath: any letter of A to E in any word, and a part of the gold.
        (VERTEX, "None", OPEN, RIGHT, RIGHT),
        (PARITY, "e", WRONG, RIGHT, RIGHT),
        (PARITY, "even function", OPEN, WRONG, WRONG),
        # SQuAD's normalisation takes the decimal point away.
        (DECIMAL, "15", WRONG, OPEN, OPEN),
        (DECIMAL, "1.5.", RIGHT, RIGHT, RIGHT),
        # OCRBench: a part of the text.
        (EMPTY_WORD, "nothing", WRONG, RIGHT, RIGHT),
    ],
)
def test_the_mode_says_whose_rule_marks_a_published_suite(item, answer, strict, official, paper):
    found = [mark(item, answer, mode) for mode in (STRICT, OFFICIAL, PAPER)]
    assert [grade.verdict for grade in found] == [strict, official, paper]
    assert {grade.rule.partition(":")[0] for grade in found} == {"strict", "official", "paper"}


def test_a_suite_without_a_published_rule_is_marked_alike_in_every_mode():
    item = item_of("6.5", AnswerType.FLOAT, "")
    found = {mark(item, "6.50", mode, suite="plain") for mode in Mode}
    assert {(grade.verdict, grade.rule) for grade in found} == {(RIGHT, "float")}


@pytest.mark.parametrize(("mode", "is_asked"), [(STRICT, False), (OFFICIAL, False), (PAPER, True)])
def test_the_judge_is_asked_where_the_rule_asks_one(mode, is_asked):
    judge = Kind(Verdict.CORRECT)
    grade = mark(CHART, "about a half", mode, judge=judge)
    assert bool(judge.asked) is is_asked
    assert (grade.rule == "judge") is is_asked


def test_an_answer_of_other_words_goes_to_the_judge_with_all_references():
    judge = Kind(Verdict.CORRECT)
    item = item_of("NYC", AnswerType.TEXT, "text", aliases=("New York City",))
    grade = mark(item, "the Big Apple", OFFICIAL, judge=judge)
    assert (grade.verdict, grade.rule) == (RIGHT, "judge")
    assert judge.asked == [("How much?", "the Big Apple", ("NYC", "New York City"))]


def test_no_answer_needs_no_judge():
    judge = Kind(Verdict.CORRECT)
    for mode in Mode:
        assert mark(CHART, None, mode, judge=judge).verdict is WRONG
    assert not judge.asked


@pytest.fixture
def ended(make_trajectory):
    """Give a builder of episodes whose last turn says a text."""

    def build(text, answer, **fields):
        made = make_trajectory(answer=answer, **fields)
        last = made.turns[-1].model_copy(update={"text": text})
        return made.model_copy(update={"turns": (*made.turns[:-1], last)})

    return build


def test_mode_paper_takes_the_first_tags_of_a_published_suite(ended):
    text = "<answer>4</answer> no, <answer>5</answer>"
    published = to_sample(CHART, [], suite="chartqa", family="reasoning")
    own = to_sample(item_of("5", AnswerType.INTEGER, ""), [], suite="plain", family="reasoning")
    episode = ended(text, "5")
    assert answer_of(episode, published, mode=OFFICIAL) == "5"
    assert answer_of(episode, published, mode=PAPER) == "4"
    assert answer_of(episode, own, mode=PAPER) == "5"


def test_an_outage_gives_no_answer_in_any_mode(ended):
    episode = ended("<answer>4</answer>", None, stop_reason=StopReason.INFRASTRUCTURE)
    sample = to_sample(CHART, [], suite="chartqa", family="reasoning")
    assert {answer_of(episode, sample, mode=mode) for mode in Mode} == {None}


def test_a_form_that_a_suite_asks_for_is_read(ended):
    item = item_of("3.5", AnswerType.FLOAT, "")
    sample = to_sample(item, [], suite="dynamath", family="reasoning")
    episode = ended("", '{"solution": "", "short answer": "3.5"}')
    assert answer_of(episode, sample, mode=OFFICIAL) == "3.5"


def test_every_rule_that_a_suite_names_is_known_and_told(make_score):
    rows = [make_score(rule="official:relaxed"), make_score(rule="judge")]
    assert modes_told(rows) == "rules: official"
    assert all(suite.rule for suite in SUITES.values())
