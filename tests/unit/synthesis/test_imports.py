"""Trajectories out to LLaMA-Factory and in again."""

import json

import pytest

from agentic_vlm.formats.conversations import write_conversations
from agentic_vlm.params import ImportedTeacher
from agentic_vlm.schema import (
    FinalAnswer,
    Observation,
    ObservationStatus,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
    content_id,
)
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.synthesis.export import to_conversation
from agentic_vlm.synthesis.imports import ImportFault, iter_imported

CODE = "<think>Look.</think><code>\n```python\nimage_1\n```\n</code>"
SEEN = "Code execution result:\nstdout:\n```\n\n```\n\nstderr:\n```\n{}\n```\n\nImages:\n<image>"


@pytest.fixture
def scene(tmp_path, make_image, make_sample, make_trajectory):
    with ImageWriter(tmp_path / "raw") as writer:
        asked, shown = (writer.add(make_image(colour)) for colour in ("red", "blue"))
    sample = make_sample(question="Which?", answer="red", images=(asked,))
    sample = sample.model_copy(update={"sample_id": content_id("Which?", "red", asked.sha256)})
    trajectory = make_trajectory(
        sample_id=sample.sample_id,
        system="sys",
        prompt="<image>\nWhich?\n\nThink step by step.",
        images=(asked,),
        turns=(
            Turn(
                text=CODE,
                action=ToolCall(tool="python", code="image_1"),
                observation=Observation(text=SEEN.format(""), images=(shown,)),
            ),
            Turn(
                text="So.</think><answer>red</answer>",
                prefill="<think>",
                action=FinalAnswer(text="red"),
            ),
        ),
        answer="red",
    )
    row = to_conversation(trajectory, sample, ImageStore.open(tmp_path / "raw"))
    write_conversations(tmp_path / "talks", [row], name="sft")
    return tmp_path, sample, trajectory


def load(folder, samples):
    teacher = ImportedTeacher(name="others", path="talks/sft.json")
    images = ImageWriter(folder / "images")
    by_id = {sample.sample_id: sample for sample in samples}
    return list(iter_imported(teacher, by_id, root=folder, images=images)), images


def test_what_was_exported_is_imported_turn_by_turn(scene):
    folder, sample, original = scene
    (found,), images = load(folder, [sample])
    assert isinstance(found, Trajectory)
    assert found.turns == tuple(
        turn.model_copy(update={"num_tokens": 0}) for turn in original.turns
    )
    assert (found.system, found.prompt, found.images) == (
        original.system,
        original.prompt,
        original.images,
    )
    assert (found.stop_reason, found.answer) == (StopReason.ANSWER, "red")
    assert (found.policy, found.verdict) == ("import:others", None)
    assert images.get_bytes(original.turns[0].observation.images[0].sha256)


def test_an_error_in_an_imported_observation_is_seen(scene):
    folder, sample, _ = scene
    path = folder / "talks" / "sft.json"
    rows = json.loads(path.read_text())
    rows[0]["messages"][3]["content"] = SEEN.format("Traceback\nZeroDivisionError: by zero")
    path.write_text(json.dumps(rows))
    (found,), _ = load(folder, [sample])
    seen = found.turns[0].observation
    assert (seen.status, seen.error_class) == (ObservationStatus.ERROR, "ZeroDivisionError")


def test_rows_of_no_use_are_named_and_the_others_stay(scene):
    folder, sample, _ = scene
    path = folder / "talks" / "sft.json"
    (row,) = json.loads(path.read_text())
    other = {**row, "answer": "blue"}
    lost = {**row, "images": ["images/absent.png", row["images"][1]]}
    path.write_text(json.dumps([{**row, "images": []}, other, lost, row, row]))
    found, _ = load(folder, [sample])
    assert [type(entry) for entry in found] == [ImportFault] * 3 + [Trajectory] * 2
    assert "2 <image> marker(s), but 0 picture(s)" in found[0].what
    assert found[1].what == "its sample is not in the cold-start pool"
    assert "absent.png" in found[2].what
    assert [entry.attempt for entry in found[3:]] == [0, 1]
    assert found[3].trajectory_id != found[4].trajectory_id
