"""The rule for boxes: intersection over union with the reference."""

import re
from collections.abc import Sequence

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.params import GradingParams

Box = tuple[float, float, float, float]

_NUMBER = r"[-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_GAP = r"[\s,;)(]{1,8}"
# Numbers that go on, such as 1e308, are none of ours; a fifth number makes no box.
_BOX = re.compile(
    rf"(?<![0-9.eE+-])({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER})(?![0-9.eE])"
)
# TreeBench and TreeVGR: whole numbers, no blanks.
_TAGGED = re.compile(r"<box>\[(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})\]</box>", re.ASCII)
_NAME_DIGITS = re.compile(r"[A-Za-z_]\w*[0-9]\w*")


def grade_box(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """One box, whose intersection over union with the reference reaches the limit."""
    wanted = [box for text in reference.texts for box in read_boxes(text)]
    if not wanted:
        return doubt("the reference holds no box")
    given = read_boxes(answer)
    scores = [max(iou(box, one) for one in wanted) for box in given]
    if not scores:
        return decide(False, "holds no box", 0.0)
    passed = [score >= reference.min_iou for score in scores]
    best = max(scores)
    if any(passed) and not all(passed):
        return doubt("several boxes, not all of them right", best)
    return decide(all(passed), f"IoU {best:.2f}", best)


def read_boxes(text: str) -> list[Box]:
    """Return the boxes `x1, y1, x2, y2` of a text that have an area.

    >>> read_boxes('{"bbox_2d": [1, 2, 3, 4]}')
    [(1.0, 2.0, 3.0, 4.0)]
    """
    found = _BOX.findall(_NAME_DIGITS.sub("", text))
    boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in found]
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]


def read_tagged_boxes(text: str) -> list[Box]:
    """Return the boxes in tags that have an area, as TreeBench reads them.

    >>> read_tagged_boxes("<box>[1,2,3,4]</box> <box>[1, 2, 3, 4]</box> [5,6,7,8]")
    [(1.0, 2.0, 3.0, 4.0)]
    """
    boxes = [
        (float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in _TAGGED.findall(text)
    ]
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]


def mean_iou(boxes: Sequence[Box], targets: Sequence[Box]) -> float:
    """Return how well boxes cover the targets: the mean over targets of the best IoU, 0 to 1.

    Source: TreeBench in VLMEvalKit e8e78f0. Without boxes 0; with boxes and without targets 1.

    Args:
        boxes: with areas.
        targets: with areas.

    >>> mean_iou([(0, 0, 2, 2)], [(0, 0, 2, 1), (5, 5, 6, 6)])
    0.25
    """
    if not boxes or not targets:
        return float(bool(boxes))
    return sum(max(iou(box, target) for box in boxes) for target in targets) / len(targets)


def iou(left: Box, right: Box) -> float:
    """Return the intersection over union of two boxes with areas, 0 to 1.

    >>> iou((0, 0, 2, 2), (0, 0, 2, 1))
    0.5
    """
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    shared = max(width, 0.0) * max(height, 0.0)
    total = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (left, right)) - shared
    return shared / total
