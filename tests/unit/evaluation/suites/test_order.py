"""Figures do not depend on the order in which answers come."""

import random

import pytest

from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.schema import Verdict

VALUES = {
    "task": ("end2end", "requery", "rerank", "summarization"),
    "query": ("q1", "q2"),
    "score": ("0.250000", "1.000000"),
    "iou": ("0.500000", "0.125000"),
    "boxes": ("1.000000", "2.000000"),
    "category": ("single", "cross"),
    "subtask": ("p/ocr", "r/count"),
    "cycle": ("0", "1"),
    "question": ("a", "b"),
    "seed": ("s1", "s2"),
    "problem": ("2steps/1", "2steps/2"),
    "kind": ("2steps",),
    "step": ("single", "multi"),
    "skills": ("spatial|inductive", "spatial"),
    "version": ("Text Lite", "Vision Only"),
    "picture": ("yes", "no"),
    "language": ("EN", "CN"),
    "source": ("ADE20K", "Omni3D"),
    "area": ("news", "knowledge"),
    "template": ("1", "12"),
}


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "mme_realworld_cn"])
def test_no_figure_depends_on_the_order_of_answers(suite, make_score):
    rng = random.Random(suite)
    scores = [
        make_score(
            sample_id=f"s{number}",
            verdict=rng.choice(list(Verdict)),
            flags=tuple(f"{name}={rng.choice(values)}" for name, values in VALUES.items()),
        )
        for number in range(16)
    ]
    figures = SUITES[suite].aggregate(scores)
    again = SUITES[suite].aggregate(rng.sample(scores, len(scores)))
    assert [figure.name for figure in again] == [figure.name for figure in figures]
    for one, other in zip(figures, again, strict=True):
        assert one[1:] == pytest.approx(other[1:], abs=1e-12), one.name
