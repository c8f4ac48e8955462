r"""What published evaluations get wrong, case by case, and what is right.

Sources: VLMEvalKit e8e78f0, its fork in DeepEyesV2 0373e6e, lmms-eval 75571cf, DeepEyes 6c5e796.
Mode `strict` must never pass a wrong answer and never fail a right one; doubt is allowed.
"""

import pytest

from agentic_vlm.grading import Mode, Reference, Rule, extract_answer, grade_by_rule
from agentic_vlm.grading.judges.prompt import parse_reply
from agentic_vlm.schema import Verdict

RIGHT, WRONG, OPEN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNGRADED
GLOVES = ("rubber", "cotton", "silk")
COLOURS = ("red", "black", "None", "NA")


def strict(rule, answer, reference, **fields):
    return grade_by_rule(Rule(rule), answer, Reference(reference, **fields)).verdict


@pytest.mark.parametrize(
    ("answer", "reference", "options", "verdict"),
    [
        # The letter stands too early for the kit, which then reads the text of another option.
        ("A. The glove is cotton.", "B", GLOVES, OPEN),
        # `answer is X` without a word boundary reads B.
        ("The answer is black", "A", COLOURS, WRONG),
        ("The answer is black", "B", COLOURS, RIGHT),
        # The first match wins in lmms-eval.
        ("B is wrong, A is right", "B", GLOVES, OPEN),
        # The first letter of a word is no option.
        ("After zooming in, it is C", "C", GLOVES, OPEN),
        ("After zooming in, it is C", "A", GLOVES, WRONG),
        ("DOG", "D", COLOURS, WRONG),
        ("Best answer: A", "A", GLOVES, RIGHT),
        ("Best answer: A", "B", GLOVES, WRONG),
        (r"\boxed{(B)}", "B", GLOVES, RIGHT),
        # The gold letter somewhere in the text is no answer, as in DeepEyes' first script.
        ("A person with a hat", "A", GLOVES, OPEN),
        # Options that pandas takes for missing cells.
        ("None", "C", COLOURS, RIGHT),
        ("NA", "D", COLOURS, RIGHT),
        ("None", "A", COLOURS, WRONG),
    ],
)
def test_a_choice_is_the_option_that_was_meant(answer, reference, options, verdict):
    for rule in ("choice", "letter"):
        found = strict(rule, answer, reference, options=options)
        assert found is verdict or (found is OPEN and verdict is WRONG)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("answer", ["Z", "Sorry, I can't help with images of people yet."])
def test_a_refusal_needs_no_judge_to_be_graded(mode, answer):
    """The fork calls its judge here, and crashes where there is none."""
    found = grade_by_rule(Rule.CHOICE, answer, Reference("B", options=GLOVES), mode=mode)
    assert found.verdict in (OPEN, WRONG)


@pytest.mark.parametrize("answer", [None, "", "  \n"])
@pytest.mark.parametrize("rule", [Rule.TEXT, Rule.MATH, Rule.CHOICE, Rule.ATTEMPT, Rule.RUBRIC])
def test_a_judge_that_says_yes_to_everything_is_not_asked_about_an_empty_answer(rule, answer):
    """The released reward judges an empty answer, and pays for a yes."""
    for mode in Mode:
        grade = grade_by_rule(rule, answer, Reference("B"), mode=mode)
        assert (grade.verdict, grade.rule) == (WRONG, "none")


def test_no_option_is_drawn_at_random():
    found = {strict("choice", "it is hard to say", "B", options=GLOVES) for _ in range(50)}
    assert len(found) == 1
    assert found != {RIGHT}


def test_the_callers_options_are_not_lower_cased():
    options = ("RED", "Blue")
    for mode in Mode:
        grade_by_rule(Rule.CHOICE, "the red one", Reference("A", options=options), mode=mode)
    assert options == ("RED", "Blue")


@pytest.mark.parametrize(
    ("answer", "reference", "question", "verdict"),
    [
        # Five per cent of the gold; the fork takes them of the answer.
        ("52.6", "50", "", WRONG),
        ("47.6", "50", "", RIGHT),
        ("100", "95", "", WRONG),
        # A per cent sign is no hundredth of the number for a reader.
        ("10", "10%", "", OPEN),
        # Binary arithmetic fails exactly five per cent.
        ("1.05", "1", "", RIGHT),
        # A gold of nought is a number too.
        ("0.0", "0", "", RIGHT),
        # Sixty-eight years are within five per cent.
        ("1950", "2018", "In which year was the peak?", WRONG),
        ("2018", "2018", "In which year was the peak?", RIGHT),
        ("Germany", "germany", "", RIGHT),
    ],
)
def test_relaxed_accuracy_is_relative_to_the_gold(answer, reference, question, verdict):
    assert strict("relaxed", answer, reference, question=question) is verdict


@pytest.mark.parametrize(
    ("rule", "answer", "reference", "verdict"),
    [
        ("count", "13", "3", WRONG),
        ("count", "3 of 13", "3", OPEN),
        ("count", "three", "3", RIGHT),
        ("ocr", "nothing", "no", WRONG),
        ("ocr", "17", "7", WRONG),
        ("ocr", "anything", "", OPEN),
        ("ocr_formula", "A^2", "a^2", WRONG),
        ("ocr_formula", "The answer is **a*b*c**", "a*b*c", RIGHT),
        ("ocr_formula", "a*b*c", "abc", WRONG),
        ("ocr", "It says **STOP**", "STOP", RIGHT),
        ("ocr", "5*", "5", WRONG),
        # MathVista's integers lose what stands behind the point.
        ("integer", "14.9", "14", WRONG),
        ("integer", "14.0", "14", RIGHT),
        ("list", "[1, 2]", "[1,2]", RIGHT),
        ("list", "None", "[1, 2]", WRONG),
        # LogicVista's gold may lack the blank, its answers hold dots and blanks.
        ("letters", "A, C", "A,C", RIGHT),
        ("letters", "C A.", "A, C", RIGHT),
        ("letters", "A", "A, C", WRONG),
        # DynaMath: a part of the gold is no answer; a thousandth is meant in decimals.
        ("dynamath_text", "e", "even", WRONG),
        ("dynamath_float", "3.499", "3.5", RIGHT),
        ("dynamath_choice", "None", "E", OPEN),
        # CharXiv: exact match after SQuAD's normalisation loses the decimal point.
        ("rubric", "15", "1.5", WRONG),
        ("text", "e", "even", WRONG),
        ("text", "", "even", WRONG),
    ],
)
def test_a_part_of_an_answer_is_not_the_answer(rule, answer, reference, verdict):
    found = strict(rule, answer, reference)
    assert found is verdict or (found is OPEN and verdict is WRONG)


def test_floats_are_compared_at_the_precision_of_the_question():
    assert strict("float", "1.31", "1.3", precision=1) is RIGHT
    assert strict("float", "1.36", "1.3", precision=1) is WRONG


@pytest.mark.parametrize("mode", list(Mode))
def test_the_text_of_a_model_is_never_run(mode, tmp_path):
    bait = tmp_path / "run"
    answer = f"__import__('pathlib').Path({str(bait)!r}).touch() or 1"
    for rule in Rule:
        if rule is not Rule.MATH or mode is Mode.PAPER:
            grade_by_rule(rule, answer, Reference("1", options=("1", "2")), mode=mode)
    assert not bait.exists()


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("No. The model said yes", OPEN),
        ("The answer might be yes, let me", OPEN),
        (r"\boxed{yes}", OPEN),
        ("It said yes.\nVERDICT: INCORRECT", WRONG),
        ("VERDICT: CORRECT", RIGHT),
    ],
)
def test_a_judge_says_yes_only_in_its_last_line(reply, verdict):
    assert (parse_reply(reply, is_cut=False) or OPEN) is verdict


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<answer>4</answer> no: <answer>5</answer>", "5"),
        ("<think><answer>4</answer></think><answer>5</answer>", "5"),
        ("<think>4?</think><answer> 5 </answer>", "5"),
    ],
)
def test_the_last_answer_after_the_thought_counts(reply, answer):
    assert extract_answer(reply) == answer
