"""Grading rules."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_vlm.grading import Grade, grade_answer, guess_answer_type
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, Verdict

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNGRADED  # noqa: E741


@dataclass(frozen=True)
class Sample:
    answer: str
    answer_type: AnswerType | None
    aliases: tuple[str, ...] = ()


CASES = [
    # rule, reference, answer, verdict
    ("choice", "B", "(b)", C),
    ("choice", "B", "B.", C),
    ("choice", "B", "The answer is B", C),
    ("choice", "B", "**B**", C),
    ("choice", "B", r"\boxed{B}", C),
    ("choice", "B", "B) the red plate", C),
    ("choice", "A", "A. The glove is cotton.", C),
    ("choice", "B", "A. The glove is cotton.", I),
    ("choice", "B", "C", I),
    ("choice", "B", "Best", U),
    ("choice", "B", "The answer is black", U),
    ("choice", "B", "A or B", U),
    ("choice", "B", "C or D", I),
    ("choice", "A", "A glove is made of wool", U),
    ("integer", "1234", "1,234", C),
    ("integer", "1234", "1234.0", C),
    ("integer", "1234", "1.234e3", C),
    ("integer", "1234", "1234.5", I),
    ("integer", "-3", "\u22123", C),
    ("integer", "3", "-3", I),
    ("integer", "3", "13", I),
    ("integer", "6", "There are 6 trees.", C),
    ("integer", "6", "six", C),
    ("integer", "6", "six trees", C),
    ("integer", "6", "So the final answer is: 6.", C),
    ("integer", "14", "13 or 14", U),
    ("integer", "14", "12 or 13", I),
    ("integer", "14", "not 14", U),
    ("integer", "12", "12:45", U),
    ("integer", "12", "B12", U),
    ("integer", "102", "10\u00b2", I),
    ("integer", "6", "I cannot tell", I),
    ("integer", "1731", "Velmora was founded in 1731", C),
    ("float", "3.14", "3.15", C),
    ("float", "3.14", "3.3", I),
    ("float", "0.75", "3/4", C),
    ("float", "0.36", "36%", U),
    ("float", "36", "36 %", C),
    ("float", "0", "0.0", C),
    ("float", "0", "0.001", I),
    ("text", "red", "Red.", C),
    ("text", "red", "the red", C),
    ("text", "red", "The answer is red", C),
    ("text", "red", "reddish", I),
    ("text", "red", "blue", I),
    ("text", "red", "not red", U),
    ("text", "3", "13", I),
    ("text", "-3", "3", I),
    ("text", "The", "the", C),
    ("list", "red, blue", "blue and red", C),
    ("list", "red, blue", "['blue', 'red']", C),
    ("list", "red, blue", "red", I),
    ("list", "red, red", "red, blue", I),
    ("list", "1, 2, 3", "1,2,3", C),
    ("list", "1, 2, 3", "3, 2, 1", I),
    ("math", "12", "12.0", C),
    ("math", "even", "Even", C),
    ("math", "even", "odd", I),
    ("math", "14", "13 or 14", U),
]


def grade(rule: str | AnswerType, reference: str, answer: str | None) -> Verdict:
    return grade_answer(answer, Sample(reference, AnswerType(rule))).verdict


@pytest.mark.parametrize(("rule", "reference", "answer", "verdict"), CASES)
def test_the_verdict_is_right(rule: str, reference: str, answer: str, verdict: Verdict) -> None:
    assert grade(rule, reference, answer) is verdict


@pytest.mark.parametrize("rule", list(AnswerType))
@pytest.mark.parametrize("answer", [None, "", " \n"])
def test_no_answer_is_incorrect(rule: AnswerType, answer: str | None) -> None:
    assert grade(rule, "red", answer) is Verdict.INCORRECT


def test_an_alias_is_as_right_as_the_answer() -> None:
    sample = Sample("New York City", AnswerType.TEXT, ("NYC",))
    assert grade_answer("nyc", sample).verdict is Verdict.CORRECT


def test_the_text_of_an_option_is_right_where_it_is_an_alias() -> None:
    sample = Sample("B", AnswerType.CHOICE, ("the red plate",))
    assert grade_answer("Red plate", sample).verdict is Verdict.CORRECT


def test_the_tolerance_comes_from_the_params() -> None:
    sample = Sample("100", AnswerType.FLOAT)
    params = GradingParams(float_tolerance=0.2)
    assert grade_answer("115", sample).verdict is Verdict.INCORRECT
    assert grade_answer("115", sample, params=params).verdict is Verdict.CORRECT


def test_a_grade_names_its_rule_and_its_reason() -> None:
    assert grade_answer("7", Sample("6", AnswerType.INTEGER)) == Grade(
        Verdict.INCORRECT, "integer", "another number"
    )


RULES = st.sampled_from([rule for rule in AnswerType if rule is not AnswerType.MATH])
NOT_BLANK = st.text(min_size=1).filter(lambda text: text.strip())
SHORT = st.text(alphabet="0123456789,.-+e%/ :ABab()[]{}\\$;", min_size=1, max_size=20)


@given(NOT_BLANK, st.sampled_from(AnswerType))
def test_the_reference_itself_is_correct_under_every_rule(text: str, rule: AnswerType) -> None:
    assert grade(rule, text, text) is Verdict.CORRECT


@settings(max_examples=300)
@given(RULES, NOT_BLANK | SHORT, st.text() | SHORT)
def test_any_text_gets_a_verdict(rule: AnswerType, reference: str, answer: str) -> None:
    assert grade(rule, reference, answer) in Verdict


@pytest.mark.parametrize("rule", [rule for rule in AnswerType if rule is not AnswerType.MATH])
@pytest.mark.parametrize(
    "text", ["9" * 100_000, "1 " * 50_000, "(" * 100_000, "1e999", "a," * 50_000]
)
def test_huge_texts_get_a_verdict(rule: AnswerType, text: str) -> None:
    assert grade(rule, "12", text) is not Verdict.CORRECT


@given(st.integers(-(10**12), 10**12))
def test_a_written_integer_is_read_back(number: int) -> None:
    assert grade("integer", str(number), f"{number:,}") is Verdict.CORRECT
    assert grade("integer", str(number + 1), f"{number:,}") is Verdict.INCORRECT


@given(st.lists(st.sampled_from(["red", "blue", "a tree", "x-1"]), min_size=2), st.randoms())
def test_the_order_of_named_items_does_not_matter(items: list[str], rng: random.Random) -> None:
    shuffled = rng.sample(items, len(items))
    assert grade("list", ", ".join(items), ", ".join(shuffled)) is Verdict.CORRECT


@given(st.lists(st.tuples(RULES, SHORT.filter(str.strip), SHORT), max_size=6), st.randoms())
def test_a_verdict_does_not_depend_on_what_was_graded_before(
    rows: list[tuple[AnswerType, str, str]], rng: random.Random
) -> None:
    verdicts = {row: grade(*row) for row in rows}
    assert all(grade(*row) is verdicts[row] for row in rng.sample(rows, len(rows)))


@pytest.mark.parametrize(
    ("reference", "rule"),
    [("(C)", "choice"), ("-7", "integer"), ("2.50", "float"), ("red", "text"), ("x=3", "math")],
)
def test_the_type_of_a_reference_is_guessed(reference: str, rule: str) -> None:
    assert guess_answer_type(reference) is AnswerType(rule)
    assert grade_answer(reference.lower(), Sample(reference, None)).verdict is Verdict.CORRECT
