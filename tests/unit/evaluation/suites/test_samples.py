"""Real pieces of public benchmarks, where they are at hand: read whole, graded by their golds."""

import os
from pathlib import Path

import pytest

from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.check import check_file
from agentic_vlm.grading import grade_answer
from agentic_vlm.schema import AnswerType, Verdict

ROOT = Path(__file__).parents[4]
SAMPLES = Path(os.environ.get("AGENTIC_VLM_SAMPLES", ROOT.parent / "shared" / "samples"))

CASES = [
    ("mathvision", "math_vision/test.jsonl", 240),
    ("gsm8k", "gsm8k/test.jsonl", 300),
    ("infoseek", "fvqa/mini_data.parquet", 5),
]


def said(item):
    # A symbolic comparison has a time limit, which a busy machine may miss.
    return item.answer if item.answer_type is AnswerType.MATH else f"The answer is {item.answer}."


def sample(name):
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"no {path}; AGENTIC_VLM_SAMPLES names the folder of real samples")
    return path


@pytest.mark.parametrize(("suite", "name", "num_items"), CASES)
def test_every_row_of_a_real_file_is_read(suite, name, num_items):
    found = check_file(SUITES[suite], sample(name))
    assert (found.num_items, found.doubles) == (num_items, [])


@pytest.mark.parametrize(("suite", "name", "num_items"), CASES)
def test_every_gold_of_a_real_file_is_right_in_a_sentence_and_wrong_elsewhere(
    suite, name, num_items
):
    items = list(SUITES[suite].iter_items(sample(name)))
    verdicts = [grade_answer(said(item), item).verdict for item in items]
    assert verdicts == [Verdict.CORRECT] * num_items
    empty = [grade_answer("I do not know", item).verdict for item in items]
    assert Verdict.CORRECT not in empty
