"""Why answers are wrong."""

import json
from pathlib import Path

import pytest

from agentic_vlm.analysis.error_tables import (
    change_table,
    error_table,
    evidence_table,
    sequence_table,
)
from agentic_vlm.analysis.errors import diagnose, diagnose_sample, shows_evidence
from agentic_vlm.schema import (
    FinalAnswer,
    Observation,
    SolutionStep,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
)

FOLDER = Path(__file__).parent
CROP = SolutionStep(kind="crop", box=(56, 56, 112, 112), reads="K4")
SUM = SolutionStep(kind="compute", text="2+3", reads="5")
ASK = SolutionStep(kind="text_search", text="code K4", reads="1900")
LOOK = SolutionStep(kind="image_search", reads="Anor")
END = Turn(text="<answer>7</answer>", action=FinalAnswer(text="7"))


def code(text, status="ok"):
    return Turn(
        text=text,
        action=ToolCall(tool="python", code=text),
        observation=Observation(text="", status=status),
    )


def search(tool, arguments="", status="ok"):
    return Turn(
        text=tool,
        action=ToolCall(tool=tool, arguments_json=arguments),
        observation=Observation(text="", status=status),
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("labelled_errors.jsonl", "random"),
        ("labelled_errors.jsonl", "rare"),
        ("fresh_errors.jsonl", "fresh"),
    ],
)
def test_the_taxonomy_agrees_with_labels_made_by_hand(file, name):
    """Labelled before the rules saw them; docs/findings.md says how each set was drawn."""
    rows = [json.loads(line) for line in (FOLDER / file).read_text().splitlines()]
    rows = [row for row in rows if row["set"] == name]
    wrong = []
    for row in rows:
        episode = Trajectory.model_validate_json(json.dumps(row["trajectory"]))
        steps = [SolutionStep.model_validate_json(json.dumps(step)) for step in row["solution"]]
        found = diagnose(episode, steps).value
        if found != row["label"]:
            wrong.append((episode.trajectory_id, row["label"], found))
    assert len(rows) == {"random": 150, "rare": 45, "fresh": 150}[name]
    assert len(wrong) <= 0.15 * len(rows), wrong


@pytest.mark.parametrize(
    ("turns", "solution", "kind"),
    [
        ((END,), (), "misread"),
        ((code("print(1 + 1)"), END), (), "tool_choice"),
        ((END,), (CROP,), "tool_choice"),
        ((code("image_1.crop((0, 0, 56, 56))"), END), (CROP,), "wrong_region"),
        ((code("image_1.crop((50, 50, 120, 120))"), END), (CROP,), "misread"),
        ((code("image_1.crop((0, 0"), END), (CROP,), "tool_choice"),
        ((code("image_1.crop((0, 0", "error"), END), (CROP,), "execution"),
        ((code("print(2 * 3)"), END), (SUM,), "tool_choice"),
        ((code("print(2 + 4)"), END), (SUM,), "misread"),
        ((code("print(2 +", "error"), code("print(2 + 4)"), END), (SUM,), "misread"),
        ((search("image_search"), END), (LOOK, ASK), "tool_choice"),
        ((search("search", '{"query": "code K9"}'), END), (ASK,), "misread"),
        ((search("search", '{"query": "owner"}'), END), (ASK,), "tool_choice"),
        ((search("", "{", "malformed"), END), (ASK,), "execution"),
        ((search("", "{", "malformed"), END), (CROP,), "tool_choice"),
    ],
)
def test_the_first_fault_decides(make_trajectory, turns, solution, kind):
    assert diagnose(make_trajectory(turns=turns, answer="7"), solution).value == kind


def test_outages_and_missing_answers_come_before_all_else(make_trajectory):
    outage = make_trajectory(turns=(), stop_reason=StopReason.INFRASTRUCTURE, answer=None)
    assert diagnose(outage, (SUM,)).value == "infrastructure"
    cut = make_trajectory(turns=(code("f("),), stop_reason=StopReason.LENGTH, answer=None)
    assert diagnose(cut, (SUM,)).value == "no_answer"


def test_right_answers_have_no_error(make_trajectory, make_sample):
    sample = make_sample(need="tool", solution=(SUM,))
    assert diagnose_sample(make_trajectory(verdict="correct"), sample) is None
    assert diagnose_sample(make_trajectory(verdict="ungraded"), sample) is None
    assert diagnose_sample(make_trajectory(verdict="incorrect"), sample).value == "misread"


def test_without_a_solution_only_failed_calls_are_told_apart(make_trajectory, make_sample):
    sample = make_sample()
    failed = make_trajectory(verdict="incorrect", turns=(code("f(", "error"), END))
    assert diagnose_sample(failed, sample).value == "execution"
    assert diagnose_sample(make_trajectory(verdict="incorrect"), sample).value == "misread"


def test_a_crop_must_hold_most_of_the_evidence():
    assert shows_evidence(ToolCall(tool="python", code="image_1.crop((0, 56, 90, 112))"), CROP)
    assert not shows_evidence(ToolCall(tool="python", code="image_1.crop((0, 0, 80, 80))"), CROP)
    assert not shows_evidence(ToolCall(tool="python", code="image_2.crop((0, 0, 448, 448))"), CROP)


def crop_of(box):
    return code(f"image_1.crop({box})")


@pytest.fixture
def answered(make_trajectory, make_sample):
    """Give four samples and what two models made of them."""
    samples = {
        name: make_sample(
            sample_id=name, family="perception", need="tool", solution=(CROP,), question=f"{name}?"
        )
        for name in ("a", "b", "c", "d")
    }

    def episode(model, name, verdict, *turns):
        return make_trajectory(
            trajectory_id=f"{model}-{name}", sample_id=name, verdict=verdict, answer="7",
            turns=(*turns, END),
        )  # fmt: skip

    right, aside = crop_of((56, 56, 112, 112)), crop_of((0, 0, 56, 56))
    episodes = {
        "sft": [
            episode("sft", "a", "incorrect", aside), episode("sft", "b", "correct", right),
            episode("sft", "c", "incorrect"), episode("sft", "d", "incorrect", right),
        ],
        "rl": [
            episode("rl", "a", "correct", right), episode("rl", "b", "incorrect", aside),
            episode("rl", "c", "incorrect"), episode("rl", "d", "correct", aside, right),
        ],
    }  # fmt: skip
    return episodes, samples


def cells_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_errors_are_counted_by_model(answered):
    rows = cells_of(error_table(*answered))
    assert rows[0] == [
        "SFT", "3", "0 (0.0 %)", "0 (0.0 %)", "0 (0.0 %)", "1 (33.3 %)", "1 (33.3 %)",
        "1 (33.3 %)",
    ]  # fmt: skip
    assert rows[1][:2] == ["RL", "2"]


def test_crops_are_held_against_the_evidence(answered):
    sft, rl = cells_of(evidence_table(*answered))
    assert sft == ["SFT", "3", "66.7 %", "2", "50.0 %", "1", "0.0 %"]
    assert rl == ["RL", "4", "50.0 %", "2", "100.0 %", "1", "0.0 %"]


def test_combinations_are_told_in_order_with_their_accuracy(answered):
    rows = cells_of(sequence_table(answered[0]))
    assert ["RL", "crop, then crop", "1", "100.0 %"] in rows
    assert rows[0] == ["SFT", "crop", "3", "33.3 %"]


def test_what_rl_newly_solves_and_breaks_is_told_with_examples(answered):
    solved, broken = cells_of(change_table(*answered, before="sft", after="rl"))
    assert solved[:3] == ["perception", "newly solved", "2"]
    assert "a? '7' (1 calls) -&gt; '7' (1 calls)" in solved[3]
    assert broken[:3] == ["perception", "newly broken", "1"]
    assert change_table({}, {}, before="sft", after="rl") == "SFT or RL was not evaluated."
