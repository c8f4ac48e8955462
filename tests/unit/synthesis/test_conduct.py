"""What makes a right trajectory a bad lesson: leaks, idle calls, lint, disagreement."""

import pytest

from agentic_vlm.params import GradingParams, SelectSftParams
from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    Need,
    Observation,
    RejectReason,
    ToolCall,
    Turn,
)
from agentic_vlm.synthesis.leaks import find_leak
from agentic_vlm.synthesis.lint import find_lint
from agentic_vlm.synthesis.placeholder import is_placeholder
from agentic_vlm.synthesis.selection import select
from agentic_vlm.synthesis.usefulness import count_useful_calls

TOOLS = ("python", "search")
PICTURE = ImageRef(sha256="a" * 64, width_px=9, height_px=9)


def end(text="K47", thought=""):
    return Turn(text=f"{thought}<answer>{text}</answer>", action=FinalAnswer(text=text))


def call(code="image_1.crop(b)", *, thought="Look.", text="", images=(), tool="python"):
    return Turn(
        text=f"{thought}</think><code>{code}</code>",
        action=ToolCall(tool=tool, code=code),
        observation=Observation(text=text + "<image>" * len(images), images=images),
    )


@pytest.fixture
def sample(make_sample):
    return make_sample(sample_id="s0", question="Which label?", answer="K47", need=Need.TOOL)


@pytest.mark.parametrize(
    ("turns", "leak"),
    [
        ((call(text="x"), end()), ""),
        ((call(thought="The label is K47, check.", text="x"), end()), "turn 1 states 'K47'"),
        ((call(code="# K47\nimage_1.crop(b)", text="x"), end()), ""),
        ((call(text="x"), end(thought="As the ground truth says,")), "turn 2 says"),
        ((call(text="x"), end(thought="It is K47.")), ""),
        ((call(thought="The reference answer is odd.", text="x"), end()), "turn 1 says"),
    ],
)
def test_a_teacher_that_knows_the_answer_before_it_looks_leaks_it(
    make_trajectory, sample, turns, leak
):
    found = find_leak(make_trajectory(turns=turns, answer="K47"), sample)
    assert found.startswith(leak)
    assert bool(found) is bool(leak)


def test_an_answer_that_the_question_holds_is_no_leak(make_trajectory, sample):
    asked = sample.model_copy(update={"question": "Is it K47 or K48?"})
    row = make_trajectory(turns=(call(thought="Is it K47?", text="x"), end()), answer="K47")
    assert find_leak(row, asked) == ""


def test_a_call_is_useful_if_it_shows_something_new(make_trajectory):
    turns = (
        call(images=(PICTURE,)),
        call(images=(ImageRef(sha256="b" * 64, width_px=9, height_px=9),)),
        call(text="7"),
        call(text=" 7 "),
        call("# nothing", text="8"),
        end(),
    )
    assert count_useful_calls(make_trajectory(turns=turns, images=(PICTURE,))) == 2


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, ""),
        ({"prompt": "<image>\nwhat?"}, "prompt: 1 marker(s), 0 picture(s)"),
        (
            {"turns": (call(tool="shell", text="x"), end())},
            "turn 1: tool 'shell' is not registered",
        ),
        ({"turns": (end(), end())}, "turn 1: no observation before the next turn"),
        ({"turns": (call(text="x"),)}, "the last turn does not answer"),
        ({"turns": (call(text="<image>"), end())}, "turn 1: 1 marker(s), 0 picture(s)"),
        ({"turns": (end(thought="<image>"),)}, "turn 1: the policy wrote <image>"),
        ({"turns": ()}, "no turn"),
    ],
)
def test_what_a_trainer_would_trip_over_is_named(make_trajectory, fields, fault):
    known = {"turns": (call(text="x"), end()), "images": (), "prompt": "what?"}
    assert find_lint(make_trajectory(**{**known, **fields}), tools=TOOLS) == fault


def choose(rows, sample, **params):
    return select(
        rows,
        {sample.sample_id: sample},
        params=SelectSftParams(**params),
        grading=GradingParams(),
        count_tokens=lambda row: 10,
        tools=TOOLS,
    )


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((call(thought="K47 it is.", text="x"), end()), RejectReason.NO_USEFUL_CALL),
        ((call(images=(PICTURE,)), end()), RejectReason.NO_USEFUL_CALL),
        ((call(tool="shell", text="x"), end()), RejectReason.MALFORMED_ROW),
    ],
)
def test_bad_lessons_are_left_out_with_their_reason(make_trajectory, sample, turns, reason):
    row = make_trajectory(turns=turns, answer="K47", images=(PICTURE,), prompt="<image>what?")
    selection = choose([row], sample)
    assert [rejection.reason for rejection in selection.rejections] == [reason]


def test_attempts_that_disagree_are_left_out_where_agreement_is_asked_for(make_trajectory, sample):
    rows = [
        make_trajectory(
            trajectory_id=f"t{at}",
            turns=(call(thought=f"Look {at}.", text="x"), end(text)),
            answer=text,
            images=(),
            prompt="what?",
        )
        for at, text in enumerate(["K47", "K48", "K49", "K47"])
    ]
    assert len(choose(rows, sample).kept) == 1 + 1
    kept = choose(rows, sample, min_agreement=0.6)
    assert not kept.kept
    assert sum(row.reason is RejectReason.UNDECIDED for row in kept.rejections) == 2
    assert len(choose(rows, sample, min_agreement=0.5).kept) == 2


@pytest.mark.parametrize(
    ("code", "is_empty"),
    [
        ("img = image_1\nimg.show()", True),
        ("import matplotlib.pyplot as plt\nplt.imshow(image_1)\nplt.axis('off')\nplt.show()", True),
        ("copy = image_1.copy()\ndisplay(copy)", True),
        ("x = 5", True),
        ("img = image_1.crop((0, 0, 9, 9))\nimg.show()", False),
        ("img = image_1.rotate(90)\ndisplay(img)", False),
        ("plt.imshow(image_1.crop(b))", False),
        ("print(image_1.size)", False),
    ],
)
def test_showing_a_picture_again_does_nothing(code, is_empty):
    assert is_placeholder(code) is is_empty
