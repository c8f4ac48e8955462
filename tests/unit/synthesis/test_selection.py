import pytest

from agentic_vlm.params import GradingParams, SelectSftParams
from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    Need,
    Observation,
    ObservationStatus,
    RejectReason,
    SolutionStep,
    StopReason,
    ToolCall,
    Turn,
    Verdict,
)
from agentic_vlm.synthesis.placeholder import is_placeholder
from agentic_vlm.synthesis.selection import select

END = Turn(text="<answer>2</answer>", action=FinalAnswer(text="2"))


def call(code, status=ObservationStatus.OK, **seen):
    observation = Observation(text="2", status=status, **seen)
    return Turn(text=code, action=ToolCall(tool="python", code=code), observation=observation)


def run(trajectories, samples, count_tokens=lambda trajectory: 10, **params):
    return select(
        trajectories,
        {sample.sample_id: sample for sample in samples},
        params=SelectSftParams(**params),
        grading=GradingParams(),
        count_tokens=count_tokens,
    )


@pytest.fixture
def sample(make_sample):
    step = SolutionStep(kind="compute", text="1+1", reads="2")
    return make_sample(
        sample_id="s0", answer="2", answer_type="integer", need=Need.TOOL, solution=(step,)
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answer": "3"}, RejectReason.NOT_CORRECT),
        ({"answer": None, "stop_reason": StopReason.TURN_LIMIT}, RejectReason.NOT_CORRECT),
        (
            {"stop_reason": StopReason.INFRASTRUCTURE, "failure": "sandbox gone", "answer": None},
            RejectReason.INFRASTRUCTURE,
        ),
        (
            {"turns": (call("f(", ObservationStatus.ERROR), call("print(1+1)"), END)},
            RejectReason.CODE_ERROR,
        ),
        ({"turns": (call("# think"), call("print(1+1)"), END)}, RejectReason.PLACEHOLDER_CODE),
        ({"turns": (END,)}, RejectReason.NO_USEFUL_CALL),
        (
            {"turns": (call("print(1+1)"), call("image_1.crop(b)"), END)},
            RejectReason.NO_USEFUL_CALL,
        ),
    ],
)
def test_each_fault_has_its_reason(make_trajectory, sample, fields, reason):
    selection = run([make_trajectory(**fields)], [sample])
    assert selection.kept == []
    assert [row.reason for row in selection.rejections] == [reason]


def test_a_good_trajectory_is_kept_with_its_verdict(make_trajectory, sample):
    (kept,) = run([make_trajectory(verdict=None)], [sample]).kept
    assert kept.verdict is Verdict.CORRECT


def test_a_call_done_over_is_a_recovery_and_not_superfluous(make_trajectory, sample):
    turns = (call("print(1+3)"), call("print(1+1)"), END)
    assert len(run([make_trajectory(turns=turns)], [sample]).kept) == 1


def test_tool_density_allows_more_calls(make_trajectory, sample):
    turns = (call("print(1+1)"), call("image_1.crop(b)"), END)
    assert len(run([make_trajectory(turns=turns)], [sample], tool_density=2.0).kept) == 1


def test_long_trajectories_and_many_pictures_are_left_out(make_trajectory, sample):
    pictures = tuple(ImageRef(sha256=f"{n:064x}", width_px=9, height_px=9) for n in range(3))
    rows = [make_trajectory(), make_trajectory(trajectory_id="t1", images=pictures)]
    long = run(rows[:1], [sample], count_tokens=lambda row: 2000)
    many = run(rows[1:], [sample], max_images=2)
    for selection in (long, many):
        assert [row.reason for row in selection.rejections] == [RejectReason.TOO_LONG]


def test_equal_attempts_at_a_sample_are_taught_once(make_trajectory, sample):
    rows = [make_trajectory(), make_trajectory(trajectory_id="t1", attempt=1)]
    selection = run(rows, [sample])
    assert len(selection.kept) == 1
    assert selection.rejections[0].reason is RejectReason.EXACT_DUPLICATE


def test_tool_free_reasoning_fills_its_share_text_first(make_trajectory, make_sample, sample):
    texts = [
        make_sample(sample_id=f"x{n}", family=family, answer="2", answer_type="integer")
        for n, family in enumerate(["search", "text", "search", "text"])
    ]
    with_tools = [
        make_trajectory(trajectory_id=f"w{n}", turns=(call(f"print(1+1)  # {n}"), END))
        for n in range(6)
    ]
    free = [
        make_trajectory(trajectory_id=f"f{row.sample_id}", sample_id=row.sample_id, turns=(END,))
        for row in texts
    ]
    selection = run([*with_tools, *free], [sample, *texts], tool_free_share=0.25)
    kept = {row.trajectory_id for row in selection.kept}
    assert {name for name in kept if name.startswith("f")} == {"fx1", "fx3"}
    assert {row.reason for row in selection.rejections} == {RejectReason.OVER_SHARE}
    assert len(selection.kept) + len(selection.rejections) == 10


def test_the_density_of_tools_can_be_thinned_out(make_trajectory, sample):
    with_tools = [
        make_trajectory(trajectory_id=f"w{n}", turns=(call(f"print(1+1)  # {n}"), END))
        for n in range(8)
    ]
    easy = sample.model_copy(update={"sample_id": "easy", "need": Need.DIRECT})
    free = [make_trajectory(trajectory_id="f0", sample_id="easy", turns=(END,))]
    for share, num_using in ((1.0, 8), (0.8, 4), (0.5, 1)):
        selection = run([*with_tools, *free], [sample, easy], max_tool_share=share)
        assert sum(row.num_calls > 0 for row in selection.kept) == num_using
        assert "f0" in {row.trajectory_id for row in selection.kept}
        assert {row.reason for row in selection.rejections} <= {RejectReason.OVER_SHARE}
        assert len(selection.kept) + len(selection.rejections) == 9


def test_families_that_are_not_taught_are_left_out_by_name(make_trajectory, sample):
    other = sample.model_copy(update={"sample_id": "s1", "family": "search"})
    rows = [make_trajectory(), make_trajectory(trajectory_id="t1", sample_id="s1")]
    selection = run(rows, [sample, other], families=(sample.family,))
    assert [row.sample_id for row in selection.kept] == ["s0"]
    (rejection,) = selection.rejections
    assert rejection.reason is RejectReason.OVER_SHARE
    assert rejection.evidence == "family search is not taught"


@pytest.mark.parametrize(
    ("code", "is_empty"),
    [
        ("# crop the plate", True),
        ("image_1", True),
        ("'zoom in'", True),
        ("image_2.show()", True),
        ("print('looking')", True),
        ("import math", True),
        ("print(1+1)", False),
        ("image_1.crop((0, 0, 56, 56))", False),
        ("x = image_1.size", False),
        ("print(", False),
    ],
)
def test_code_that_does_nothing_is_a_placeholder(code, is_empty):
    assert is_placeholder(code) is is_empty
