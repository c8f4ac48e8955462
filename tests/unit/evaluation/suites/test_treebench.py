"""TreeBench: letters, and the boxes on the way to them."""

import asyncio

import pytest

from agentic_vlm.errors import RecordError
from agentic_vlm.evaluation.run import grade_trajectories, iter_scores
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.item import label_of, to_sample
from agentic_vlm.grading import Mode, NoJudge
from agentic_vlm.grading.boxes import mean_iou, read_tagged_boxes
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, StopReason


@pytest.fixture
def row(pictures):
    return {
        "index": 0, "image": pictures.b64("red"), "question": "Where is it?", "answer": "B",
        "multi-choice options": "A. left\nB. right", "A": "left", "B": "right",
        "category": "Reasoning/Ordering", "target_instances": "[[0, 0, 10, 10], [20, 0, 30, 10]]",
    }  # fmt: skip


def test_ocr_is_asked_without_options(tsv, read, row):
    ocr = {**row, "index": 1, "category": "Perception/OCR", "question": "What is written?",
           "multi-choice options": "", "A": "", "B": "", "answer": "Stop"}  # fmt: skip
    first, second = read("treebench", tsv("TreeBench.tsv", row, ocr))
    assert first.question == (
        "Where is it?\nOptions:\nA. left\nB. right\n"
        "Answer with the correct option's letter directly."
    )
    assert first.labels["targets"] == "[[0, 0, 10, 10], [20, 0, 30, 10]]"
    assert second.question == "What is written?"
    assert (second.answer, second.answer_type) == ("Stop", AnswerType.TEXT)


@pytest.mark.parametrize("targets", ["[[0, 0, 10]]", "[[5, 5, 5, 9]]", "['a']", "[0, 0, 9, 9]"])
def test_a_target_that_is_no_box_names_the_row(tsv, read, row, targets):
    with pytest.raises(RecordError, match=r"row 1, field 'target_instances': .* is no box"):
        read("treebench", tsv("x.tsv", {**row, "target_instances": targets}))


@pytest.mark.parametrize(
    ("text", "targets", "value"),
    [
        # Each target takes its best box; the one that nobody boxed counts as 0.
        ("<box>[0,0,10,10]</box> <box>[0,0,10,5]</box>", 2, 0.5),
        ("<box>[0,0,10,5]</box> and <box>[20,0,30,10]</box>", 2, 0.75),
        # Blanks, decimals and bare numbers are no box of this benchmark.
        ("<box>[0, 0, 10, 10]</box> [20,0,30,10] <box>[20.0,0,30,10]</box>", 2, 0.0),
        ("no box at all", 2, 0.0),
        # A box without an area overlaps with nothing.
        ("<box>[5,5,5,5]</box>", 2, 0.0),
        ("<box>[0,0,10,10]</box>", 0, 1.0),
        ("no box at all", 0, 0.0),
    ],
)
def test_mean_iou_is_over_targets(text, targets, value):
    boxes = [(0, 0, 10, 10), (20, 0, 30, 10)][:targets]
    assert mean_iou(read_tagged_boxes(text), boxes) == pytest.approx(value)


@pytest.fixture
def score(tsv, read, row, make_trajectory):
    """Give a function from replies to the scored answers of one item."""

    def run(*texts, **fields):
        (item,) = read("treebench", tsv("TreeBench.tsv", row))
        sample = to_sample(item, (), suite="treebench", family="perception")
        rows = []
        for number, text in enumerate(texts):
            first, last = make_trajectory().turns
            # The box stands in the first turn, the letter in the last one.
            rows.append(
                make_trajectory(
                    trajectory_id=f"t{number}", sample_id=sample.sample_id, answer="B",
                    turns=(first.model_copy(update={"text": text}), last), **fields,
                )
            )  # fmt: skip
        graded = asyncio.run(
            grade_trajectories(
                rows, {sample.sample_id: sample}, judge=NoJudge(), params=GradingParams(),
                mode=Mode.OFFICIAL,
            )
        )  # fmt: skip
        return list(iter_scores(graded, {"treebench": [sample]}, model="m"))

    return run


def figures(scores):
    return {figure.name: figure for figure in SUITES["treebench"].aggregate(scores)}


def test_boxes_of_every_turn_count_and_letters_apart_from_them(score):
    scores = score("<box>[0,0,10,10]</box>", "it is on the right")
    assert [label_of(row, "iou") for row in scores] == ["0.500000", "0.000000"]
    found = figures(scores)
    assert (found["overall"].mean, found["mean IoU"].mean) == (1.0, pytest.approx(0.25))
    # Both are attempts at one question: the bootstrap draws them together.
    assert found["mean IoU"].n == 1


def test_a_model_that_writes_no_boxes_has_no_mean_iou(score):
    found = figures(score("it is on the right", "right"))
    assert (found["overall"].mean, found["mean IoU"].mean, found["mean IoU"].n) == (1.0, None, 0)


def test_an_outage_has_no_iou_and_stands_in_the_bounds(score):
    lost = score("<box>[0,0,10,10]</box>", stop_reason=StopReason.INFRASTRUCTURE)
    assert label_of(lost[0], "iou") == ""
    found = figures([*score("<box>[0,0,10,10]</box>"), *lost])["mean IoU"]
    assert (found.mean, found.num_ungraded) == (pytest.approx(0.5), 1)
    assert (found.lowest, found.highest) == (pytest.approx(0.25), pytest.approx(0.75))
