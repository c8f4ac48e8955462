"""Mathematics, compared in another process."""

from collections.abc import Iterator

import pytest

from agentic_vlm.grading.latex import normalize_math
from agentic_vlm.grading.math_pool import Equality, MathPool


@pytest.fixture(scope="module")
def pool() -> Iterator[MathPool]:
    pool = MathPool()
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"\frac{1}{2}", "0.5"),
        ("x^2+2x+1", "(x+1)^2"),
        (r"2\pi", "2\u03c0"),
        (r"3\sqrt{2}", "3\u221a2"),
        (r"$10\sqrt{2}$", r"\boxed{10\sqrt{2}}"),
        ("14", r"\boxed{13} so \boxed{14}"),
        ("1000", "1e3"),
        (r"\frac{1}{2}", r"\dfrac12"),
    ],
)
def test_equal_expressions_are_equal(pool: MathPool, reference: str, answer: str) -> None:
    assert pool.compare(reference, answer, timeout_s=10.0).equality is Equality.EQUAL


@pytest.mark.parametrize(
    ("reference", "answer"),
    [(r"10\sqrt{2}", "10"), (r"10\sqrt{2}", r"10\sqrt{3}"), (r"2\pi", "2"), ("x^2", "x^3")],
)
def test_different_expressions_are_not(pool: MathPool, reference: str, answer: str) -> None:
    assert pool.compare(reference, answer, timeout_s=10.0).equality is Equality.DIFFERENT


def test_too_slow_is_unknown_and_the_next_one_is_answered(pool: MathPool) -> None:
    assert pool.compare("1", r"\sqrt{2}", timeout_s=0.0).equality is Equality.UNKNOWN
    assert pool.compare("0.5", r"\frac{1}{2}", timeout_s=10.0).equality is Equality.EQUAL


def test_what_cannot_be_read_is_unknown(pool: MathPool) -> None:
    assert pool.compare("1", "\ud800{{\\", timeout_s=10.0).equality is Equality.UNKNOWN


def test_only_the_last_box_counts() -> None:
    assert normalize_math(r"\boxed{1} so \boxed{\frac{1}{2}}.") == r"$\frac{1}{2}$"
