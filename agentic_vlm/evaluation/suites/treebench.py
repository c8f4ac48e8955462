"""TreeBench: an option letter, and the boxes that a model writes on its way to it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.suites.choices import choice_item, read_options
from agentic_vlm.evaluation.suites.item import (
    SuiteItem,
    fill_prompt,
    label_in,
    label_of,
    list_options,
)
from agentic_vlm.evaluation.suites.measures import mean_measure
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.suite import Suite, micro
from agentic_vlm.grading import Grade
from agentic_vlm.grading.boxes import Box, mean_iou, read_tagged_boxes
from agentic_vlm.schema import RawSample, ScoredAnswer, Trajectory


def _iter_treebench(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        task, _, subtask = row.text("category").partition("/")
        options, question = read_options(row), row.text("question")
        if (task, subtask) != ("Perception", "OCR"):
            lines = row.maybe("multi-choice options") or list_options(options)
            question = fill_prompt("treebench", question=question, options=lines)
        yield choice_item(
            row,
            item_id=row.text("index"),
            question=question,
            options=options,
            labels={
                "task": task,
                "category": f"{task}/{subtask}",
                "targets": json.dumps(_read_targets(row)),
            },
            rule="letter",
        )


def _read_targets(row: Row) -> list[Box]:
    """Return the boxes of `target_instances` in pixels of the picture; a row may have none."""
    targets: list[Box] = []
    for place in row.lists("target_instances"):
        match place:
            case [int() | float() as x1, int() | float() as y1, int() | float() as x2,
                  int() | float() as y2] if x1 < x2 and y1 < y2:  # fmt: skip
                targets.append((x1, y1, x2, y2))
            case _:
                raise row.fault("target_instances", f"{place!r} is no box [x1, y1, x2, y2]")
    return targets


def measure_boxes(trajectory: Trajectory, sample: RawSample, grade: Grade) -> Mapping[str, float]:
    """Return the mean IoU of the boxes of all turns with the targets, and how many there are."""
    text = "\n".join(turn.prefill + turn.text for turn in trajectory.turns)
    boxes = read_tagged_boxes(text)
    targets = [(x1, y1, x2, y2) for x1, y1, x2, y2 in json.loads(label_in(sample.flags, "targets"))]
    return {"boxes": len(boxes), "iou": mean_iou(boxes, targets)}


def aggregate_treebench(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Return the shares of right answers, and mean IoU where any answer of the run has a box.

    A model that writes no boxes has no mean IoU: it is not 0.
    """
    has_boxes = any(float(label_of(row, "boxes") or 0) for row in rows)
    overall, *parts = micro("task", "category")(rows)
    return [overall, mean_measure("mean IoU", rows if has_boxes else [], label="iou"), *parts]


TREEBENCH = Suite(
    name="treebench",
    title="TreeBench",
    table="real_world",
    family="perception",
    size=405,
    iter_items=_iter_treebench,
    aggregate=aggregate_treebench,
    prompt="the options block of the file, except for Perception/OCR, which gets the bare question",
    rule="the first capital letter A to E of the answer; apart from it the mean over targets of "
    "the best IoU of `<box>[x1,y1,x2,y2]</box>` in the reasoning, whole numbers without blanks",
    deviation="a letter inside a word is no answer; a run without any box has no mean IoU, not 0",
    column="TreeB",
    measure=measure_boxes,
)
