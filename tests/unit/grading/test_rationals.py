"""Plain arithmetic is compared exactly, without computer algebra."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_vlm.grading.math_pool import Comparison, Equality, MathPool
from agentic_vlm.grading.rationals import parse_rational


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("14", 14),
        ("-0.50", Fraction(-1, 2)),
        (r"3 \times 4 - 2 \cdot 5", 2),
        (r"\frac{1}{2} + \frac{1}{3}", Fraction(5, 6)),
        ("(1 + 2) * (3 - 4)", -3),
        ("-2^2", -4),
        ("2^{-1}", Fraction(1, 2)),
        ("1/2/2", Fraction(1, 4)),
        (r"\frac{-(3)}{0.5}", -6),
        (r"1.5\times 10^{8}", 150_000_000),
    ],
)
def test_arithmetic_has_its_exact_value(text, value):
    assert parse_rational(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "x", "2x", "1 2", "2(3)", "(1)(2)", "1,5", "(1,2)", "50%", "5!", "1.2.3", "1.",
        r"\sqrt{4}", r"\frac12", r"\frac{1}", r"\frac{1}{0}", "1/0", "0^0", "0^{-1}", "2 * -3",
        # Which of the two is meant depends on who reads it.
        "10^10", "2^1.5", "2^{3^2}", "9^{9^{9}}", "2^{99}",
        "(" * 150 + "1" + ")" * 150, "(1", "1)", "{1}", "1 +", "1 = 1", "1e3", "\u0661", "1" * 201,
        "*".join(["(9^{64})^{64}"] * 9),
    ],
)  # fmt: skip
def test_whatever_else_stands_there_is_not_read(text):
    assert parse_rational(text) is None


numbers = st.fractions(min_value=-99, max_value=99, max_denominator=50)


@given(st.lists(numbers, min_size=1, max_size=5))
def test_a_written_sum_of_fractions_is_read_back(terms):
    text = " + ".join(rf"(\frac{{{term.numerator}}}{{{term.denominator}}})" for term in terms)
    assert parse_rational(text) == sum(terms)


@given(st.text(alphabet="0123456789.+-*/^(){} \\fractimes", max_size=60))
def test_no_text_makes_it_raise(text):
    assert parse_rational(text) is None or isinstance(parse_rational(text), Fraction)


class NoWorkers(MathPool):
    """A pool that must not start a process."""

    def _ask(self, key, timeout_s):
        raise AssertionError(f"{key} went to a worker")


@pytest.mark.parametrize(
    ("reference", "answer", "equality"),
    [
        (r"\frac{3}{4}", "0.75", Equality.EQUAL),
        ("14 + 1", r"\boxed{15}", Equality.EQUAL),
        (r"1\frac{1}{2}", r"\frac{3}{2}", Equality.EQUAL),
        ("2^{10}", "1000", Equality.DIFFERENT),
        (r"\frac{1}{3}", "0.33", Equality.DIFFERENT),
    ],
)
def test_plain_numbers_start_no_process(reference, answer, equality):
    assert NoWorkers().compare(reference, answer, timeout_s=1.0) == Comparison(equality, 0.0)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [(r"\frac{1}{3}", "0.3333333"), ("1000000", "1000000.001 + 0.5"), ("2", r"\sqrt{4}")],
)
def test_where_rounding_decides_or_more_than_arithmetic_is_there_the_worker_is_asked(
    reference, answer
):
    with pytest.raises(AssertionError, match="went to a worker"):
        NoWorkers().compare(reference, answer, timeout_s=1.0)
