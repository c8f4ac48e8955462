"""No text makes grading raise, hang, or depend on what surrounds it."""

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.grading import Attempt, Mode, Reference, Rule, extract_answer, grade_by_rule
from agentic_vlm.grading.boxes import mean_iou, read_tagged_boxes
from agentic_vlm.grading.judge import JudgedAnswer
from agentic_vlm.grading.judges.attempt import parse_attempt_reply
from agentic_vlm.grading.judges.prompt import parse_reply
from agentic_vlm.grading.judges.rubric import (
    fill_group,
    fill_rubric,
    parse_group_reply,
    parse_rubric_reply,
)
from agentic_vlm.grading.labelled import read_labelled
from agentic_vlm.grading.math_pool import Equality, MathPool, shared_pool
from agentic_vlm.schema import Verdict

ROWS = read_labelled()
BOMBS = (
    "9^{9^{9^{9}}}",
    "\\frac{" * 160,
    "\\sqrt{" * 100 + "2" + "}" * 100,
    "(" * 900,
    "1e999999999",
    "x^{" * 100 + "2" + "}" * 100,
    "(10^9)!",
    "\\{" * 200,
    "1=" * 200,
    "\\pm" * 200,
    "\\boxed{" * 300,
    '{"answer":' * 100,
    "9" * 3999,
    "1," * 1900,
    "\\frac{1}{0}",
    "0^{-1}",
    "1 1/0",
    "\x00\x01\x1b[31m",
    "\ud800",
    "\u202e12",
    "\ufdfa" * 200,
    "A" + " " * 3000 + "x",
    "a" * 10**6,
    "<answer>" * 1000,
    "\u0661\u0662",
    "\\",
    "$$",
)
WORDS = (
    "\\frac \\sqrt \\pi \\boxed{ \\{ \\} { } ( ) [ ] 1 2 9 x ^ _ , . = < or not A B yes no % $ "
    "<box> </answer> : - + * / \u00e9 \u4e2d \x00 \ud83d e 0"
)
PIECES = WORDS.split()


def hostile_text(rng: random.Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(BOMBS)
    if kind == 1:
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(40)))
    if kind == 2:
        return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(60)))
    signs = list(rng.choice(ROWS).answer)
    for _ in range(3 * (kind == 3)):
        signs.insert(rng.randrange(len(signs) + 1), rng.choice(PIECES))
    return "".join(signs)


def grade_hostile(rng: random.Random, rule: Rule) -> Verdict:
    options = tuple(hostile_text(rng) for _ in range(rng.choice([0, 0, 3])))
    precision = rng.choice([None, 0, 2, 50])
    reference = Reference(hostile_text(rng), options=options, precision=precision)
    answer = hostile_text(rng)
    extract_answer(answer)
    return grade_by_rule(rule, answer, reference, mode=rng.choice(list(Mode))).verdict


def test_no_text_makes_a_rule_raise() -> None:
    rng = random.Random(0)
    rules = [rule for rule in Rule if rule is not Rule.MATH]
    for _ in range(400):
        assert grade_hostile(rng, rng.choice(rules)) in Verdict


@pytest.mark.slow
def test_ten_thousand_texts_make_no_rule_raise() -> None:
    rng = random.Random(1)
    for number in range(10_000):
        # A comparison that runs out of time takes its whole second, so there are few of them.
        rules = [Rule.MATH] if number % 50 == 0 else [rule for rule in Rule if rule != "math"]
        assert grade_hostile(rng, rng.choice(rules)) in Verdict


def test_no_text_makes_a_reader_of_replies_raise_or_hang() -> None:
    """Whole replies, replies of judges, JSON forms and boxes; a quadratic pattern would not end."""
    rng = random.Random(2)
    read_short_answer = SUITES["dynamath"].read_answer
    assert read_short_answer is not None
    texts = [hostile_text(rng) for _ in range(2000)]
    long = " " * 10**6
    texts += [
        f'{{"short answer": "{long}x y}}',
        f'{{"short answer"{long}',
        f"<box>[1,{'1' * 10**6}",
    ]
    texts += [f"```json\n{long}\n```", '{"score":' * 10**5, f'{{"score": {"9" * 10**5}}}', long]
    for text in texts:
        assert isinstance(read_short_answer(text), str)
        assert extract_answer(text) is None or extract_answer(text) != ""
        for is_cut in (True, False):
            assert parse_reply(text, is_cut=is_cut) in (None, *Verdict)
            assert parse_rubric_reply(text, is_cut=is_cut) in (None, *Verdict)
            assert parse_attempt_reply(text, is_cut=is_cut) in (None, *Attempt)
            assert parse_group_reply(text, is_cut=is_cut, num_answers=2) is None
        assert 0.0 <= mean_iou(read_tagged_boxes(text), [(0, 0, 1, 1)]) <= 1.0
        assert fill_rubric("{PREDICTION}", text).startswith('"')
        shown = fill_group("", [JudgedAnswer(text, text, (text,))] * 2)
        assert len(shown.splitlines()) >= 12
        assert shown.count("\nResponse: ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("bomb", ["9^{9^{9^{9}}}", "(10^9)!", "\\binom{10^8}{10^7}"])
def test_the_pool_ends_a_verdict_after_a_second_of_cpu_time(bomb: str) -> None:
    pool = MathPool()
    try:
        assert pool.compare("x+y", "y+x", timeout_s=1.0).equality is Equality.EQUAL
        workers = [worker._process.pid for worker in pool._idle]
        assert pool.compare("0.5", bomb, timeout_s=1.0).equality is Equality.UNKNOWN
        # The child is gone; the next one answers without loading the libraries again.
        assert pool.compare("x+x", "2x", timeout_s=1.0).equality is Equality.EQUAL
        assert [worker._process.pid for worker in pool._idle] == workers
    finally:
        pool.close()


def cpu_of_ended_children(process_id: int) -> float:
    """Return the CPU seconds of the children that a process has waited for."""
    stat = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_all_comparisons_of_a_verdict_share_its_second() -> None:
    """Items of a set are compared pairwise: with a second for each, this would take nine."""
    bombs = r"\{9^{9^{9^{9}}}, (10^9)!, \binom{10^8}{10^7}\}"
    grade_by_rule(Rule.MATH, "y+x", Reference("x+y"))
    (worker,) = shared_pool()._idle
    before = cpu_of_ended_children(worker._process.pid)
    grade = grade_by_rule(Rule.MATH, bombs, Reference(r"\{0.5, 1.5, 2.5\}"))
    assert grade.verdict is Verdict.UNGRADED
    # CPU time of the comparison, not of the clock on the wall: other programs do not count.
    assert cpu_of_ended_children(worker._process.pid) - before < 2.0


def verdicts_of(ids: list[str]) -> dict[str, str]:
    rows = {row.id: row for row in ROWS}
    return {name: grade_row_of(rows[name].id) for name in ids}


def grade_row_of(name: str) -> str:
    row = next(row for row in ROWS if row.id == name)
    return grade_by_rule(row.rule, row.given, row.wanted).verdict.value


PLAIN = [row.id for row in ROWS if row.rule is not Rule.MATH]


def test_a_verdict_depends_neither_on_order_nor_on_processes() -> None:
    expected = verdicts_of(PLAIN)
    shuffled = random.Random(3).sample(PLAIN, len(PLAIN))
    assert verdicts_of(shuffled) == expected
    halves = [shuffled[::2], shuffled[1::2]]
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        found = [part for half in processes.map(verdicts_of, halves) for part in half.items()]
    assert dict(found) == expected


@pytest.mark.slow
def test_symbolic_verdicts_depend_neither_on_order_nor_on_how_many_run_at_once() -> None:
    names = [row.id for row in ROWS if row.rule is Rule.MATH][::3]
    expected = {name: grade_row_of(name) for name in names}
    assert set(expected.values()) >= {"correct", "incorrect"}
    shuffled = random.Random(4).sample(names, len(names))
    with ThreadPoolExecutor(4) as threads:
        found = dict(zip(shuffled, threads.map(grade_row_of, shuffled), strict=True))
    assert found == expected


GRADE_UNDER_LOCALE = """
import json, locale, sys
from agentic_vlm.grading import Rule, grade_by_rule
from agentic_vlm.grading.labelled import read_labelled
try:
    locale.setlocale(locale.LC_ALL, "")
except locale.Error:
    pass  # The machine does not have it: the variables alone are tried.
rows = [row for row in read_labelled() if row.id in sys.argv[1:]]
grades = {row.id: grade_by_rule(row.rule, row.given, row.wanted).verdict.value for row in rows}
json.dump(grades, sys.stdout)
"""


# The worker of symbolic mathematics inherits the variables; one locale of commas and dotless i.
SYMBOLIC = [row.id for row in ROWS if row.rule is Rule.MATH][::12]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "names"),
    [("C", PLAIN), ("tr_TR.UTF-8", [*PLAIN, *SYMBOLIC]), ("de_DE.UTF-8", PLAIN)],
)
def test_no_verdict_of_any_rule_depends_on_the_locale(locale: str, names: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", GRADE_UNDER_LOCALE, *names],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": locale, "LANG": locale},
    )
    assert json.loads(result.stdout) == verdicts_of(names)
