"""Answers that a benchmark's authors send to their judge several at a time (CharXiv descriptive).

Groups form from the ids of the items and never from the order of rows, so that the same answers are
always asked about together.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.evaluation.suites.item import label_in
from agentic_vlm.grading import Grade, Judge, Mode
from agentic_vlm.grading.judge import JudgedAnswer, JudgesGroups
from agentic_vlm.schema import RawSample, Trajectory, Verdict

GROUP_SIZE = 5
"""Answers in one request, as CharXiv's authors have it."""
_FIGURES = re.compile(r"[0-9]+")


class _Open(NamedTuple):
    """An answer that waits for its group."""

    place: int
    trajectory: Trajectory
    sample: RawSample
    grade: Grade


def is_grouped(sample: RawSample, *, judge: Judge, mode: Mode) -> bool:
    """Return whether what the rule leaves open is asked about in a group."""
    wants = mode is Mode.OFFICIAL and bool(label_in(sample.flags, "group_rubric"))
    return wants and isinstance(judge, JudgesGroups)


async def judge_groups(
    grades: Sequence[Grade],
    trajectories: Sequence[Trajectory],
    samples: Mapping[str, RawSample],
    *,
    judge: Judge,
    mode: Mode,
) -> list[Grade]:
    """Return the grades, those that wait for a group decided by the judge.

    Args:
        grades: what the rules say of each answer; `ungraded` waits.
        trajectories: whose answers they are, in the same order.
        samples: what was asked, by id.
        judge: who is asked; one that takes no groups is not.
        mode: only the rules of the authors ask in groups.
    """
    if not isinstance(judge, JudgesGroups):
        return list(grades)
    waiting = [
        _Open(place, row, samples[row.sample_id], grade)
        for place, (row, grade) in enumerate(zip(trajectories, grades, strict=True))
        if grade.verdict is Verdict.UNGRADED
        and grade.rule.startswith(f"{mode.value}:")
        and is_grouped(samples[row.sample_id], judge=judge, mode=mode)
    ]
    groups = _split(waiting)
    decided = await asyncio.gather(*(_judge(group, judge) for group in groups))
    settled = list(grades)
    for group, found in zip(groups, decided, strict=True):
        for one, grade in zip(group, found, strict=True):
            settled[one.place] = grade
    return settled


def _split(waiting: Sequence[_Open]) -> list[list[_Open]]:
    """Return groups of one rubric, mode and attempt, in the order of the items' ids."""
    sections: dict[tuple[str, str, int], list[_Open]] = {}
    for one in waiting:
        rubric = label_in(one.sample.flags, "group_rubric")
        key = (rubric, str(one.trajectory.mode), one.trajectory.attempt)
        sections.setdefault(key, []).append(one)
    groups = []
    for key in sorted(sections):
        rows = sorted(sections[key], key=_order)
        groups += [rows[at : at + GROUP_SIZE] for at in range(0, len(rows), GROUP_SIZE)]
    return groups


def _order(one: _Open) -> tuple[str, str]:
    # Figure 9 before figure 10, as the authors' file has them.
    row_id = _FIGURES.sub(lambda match: match[0].zfill(12), one.sample.source_row_id)
    return row_id, one.sample.sample_id


async def _judge(group: Sequence[_Open], judge: JudgesGroups) -> list[Grade]:
    answers = [
        JudgedAnswer(
            one.sample.question,
            one.trajectory.answer or "",
            (one.sample.answer, *one.sample.aliases),
        )
        for one in group
    ]
    rubric = label_in(group[0].sample.flags, "group_rubric")
    try:
        verdicts = await judge.judge_group(rubric, answers)
    except JudgeUnavailable as fault:
        return [Grade(Verdict.UNGRADED, "unavailable", str(fault))] * len(group)
    return [Grade(verdict, "judge", _reason(verdict, len(group))) for verdict in verdicts]


def _reason(verdict: Verdict, size: int) -> str:
    said = "the judge told not all of them" if verdict is Verdict.UNGRADED else "the judge decided"
    return f"{said}; one of {size} in a request"
