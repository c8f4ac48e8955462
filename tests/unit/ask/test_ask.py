"""Asking about a picture: what is read, what is told, what is refused."""

import asyncio

import pytest
from PIL import Image

from agentic_vlm import ask
from agentic_vlm.agent.episode import run_episode
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import ArtifactMissing, ImageError, ParamsError
from agentic_vlm.params import AgentParams, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import ProbeMode
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolbox, Toolkit

SEARCH = '<tool_call>{"name": "search", "arguments": {"query": "moon"}}</tool_call>'


def run(turns: list[str], *, say, save=None, num_outages: int = 0):
    """Run an episode of scripted turns through a Narrator, without a model."""
    left = iter(turns)
    picture = Image.new("RGB", (64, 48), "red")
    task = ask.make_task(picture, "which colour?", mode=ProbeMode.AGENT, seed=0)
    kit = Toolkit(
        agent=AgentParams(),
        vision=VisionParams(),
        search=SearchParams(type="fake"),
        sandbox=FakeSandbox({"image_1": PICTURE}),
        provider=FakeSearch(num_outages=num_outages),
    )
    narrator = ask.Narrator(ScriptedPolicy(lambda _: next(left)), say=say, save=save)
    episode = asyncio.run(
        run_episode(
            task,
            policy=narrator,
            toolbox=Toolbox.for_episode(kit, images=task.images, seed=task.seed),
            renderer=None,
            params=kit.agent,
            temperature=0.0,
        )
    )
    return episode.trajectory


PICTURE = CellResult(CellStatus.OK, images=(Image.new("RGB", (40, 40), "blue"),))
CROP = "<think>look</think><code>```python\nimage_1\n```</code>"
ANSWER = "seen</think><answer>red</answer>"


def test_turns_and_observations_are_told_in_order():
    told: list[str] = []
    run([CROP, ANSWER], say=told.append)
    text = "".join(told)
    places = [text.index(mark) for mark in ("turn 1", "look", "observation 1", "turn 2", "seen")]
    assert places == sorted(places)
    assert text.count("observation") == 1


def test_a_turn_is_told_before_the_next_one_is_sampled():
    told: list[str] = []
    seen: list[int] = []

    def say(text: str) -> None:
        told.append(text)
        seen.append(len(told))

    trajectory = run([CROP, CROP, ANSWER], say=say)
    assert [text.split("\n")[0] for text in told if text.startswith("---")] == [
        "--- turn 1",
        "--- observation 1",
        "--- turn 2",
        "--- observation 2",
        "--- turn 3",
    ]
    assert trajectory.num_calls == 2


def test_pictures_of_tools_are_saved_where_asked(tmp_path):
    told: list[str] = []
    run([CROP, ANSWER], say=told.append, save=tmp_path / "out")
    (saved,) = (tmp_path / "out").iterdir()
    assert Image.open(saved).size == (40, 40)
    assert str(saved) in "".join(told)


def test_the_end_names_the_answer_and_the_calls():
    trajectory = run([CROP, ANSWER], say=lambda text: None)
    assert ask.describe_end(trajectory) == "=== answer: red   (2 turns, 1 tool call)"


def test_an_episode_without_answer_says_why():
    trajectory = run(["nothing", "nothing"], say=lambda text: None)
    assert ask.describe_end(trajectory).startswith("=== no answer: two turns in a row")


def test_a_search_that_is_out_of_order_is_no_answer_and_no_wrong_one():
    trajectory = run([SEARCH], say=lambda text: None, num_outages=9)
    assert ask.describe_end(trajectory) == "=== no answer: a tool is out of order   (1 tool call)"
    assert trajectory.failure


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGBA"), ("a.jpg", "L"), ("a.webp", "RGB"), ("a.gif", "P")]
)
def test_any_format_is_read_as_rgb(tmp_path, name, mode):
    Image.new(mode, (50, 40)).save(tmp_path / name)
    picture = ask.open_picture(tmp_path / name, limits=VisionParams())
    assert (picture.mode, picture.size) == ("RGB", (50, 40))


def test_a_picture_that_is_none_is_named(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match="broken picture"):
        ask.open_picture(path, limits=VisionParams())


def test_a_missing_picture_gives_two_lines(tmp_path):
    with pytest.raises(ImageError) as caught:
        ask.open_picture(tmp_path / "none.png", limits=VisionParams())
    assert str(caught.value) == (
        f"{tmp_path}/none.png: No such file or directory\n  fix: give the path of a picture file"
    )


@pytest.mark.parametrize("size", [(20, 20), (9000, 100), (28 * 250, 28)])
def test_a_picture_outside_the_limits_is_refused(tmp_path, size):
    Image.new("L", size).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="outside the limits"):
        ask.open_picture(tmp_path / "a.png", limits=VisionParams())


def test_an_empty_question_is_refused():
    with pytest.raises(ParamsError, match="QUESTION: empty"):
        ask.make_task(Image.new("RGB", (40, 40)), "  ", mode=ProbeMode.AGENT, seed=0)


def test_the_furthest_trained_model_is_taken(tmp_path):
    for name in ("base", "sft"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
    assert ask.find_model(tmp_path) == tmp_path / "models" / "sft"


def test_no_model_at_all_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactMissing, match="make reproduce"):
        ask.find_model(tmp_path)


def test_a_fault_ends_the_command_with_two_lines_and_status_1(project, capsys):
    assert ask.main(["none.png", "what?", "--root", str(project)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("  fix: ")


def test_the_help_text_ends_with_an_example(capsys):
    with pytest.raises(SystemExit):
        ask.main(["--help"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(("Example:", "--save out"))
