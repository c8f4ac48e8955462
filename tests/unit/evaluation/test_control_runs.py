"""All control runs of a checkpoint: one command, one page, with n and intervals."""

import asyncio
import json

import pytest

from agentic_vlm.agent.prompt import build_prompt
from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import ParamsError
from agentic_vlm.evaluation.control_runs import PAGE, run_all_controls, run_controls, write_page
from agentic_vlm.evaluation.controls import unseen
from agentic_vlm.evaluation.controls.catalogue import CONTROLS
from agentic_vlm.evaluation.controls.changed_tools import CHANGES
from agentic_vlm.evaluation.controls.tables import MEANINGS
from agentic_vlm.evaluation.runs import iter_answers, read_seconds
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.params import AgentParams, Params, SearchParams, VisionParams
from agentic_vlm.params.evaluation import Control
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import ProbeMode, ToolCall
from agentic_vlm.search.base import TextHit
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit

PARAMS = Params(agent=AgentParams(max_concurrent=4, deterministic=False, prompt="deepeyesv2"))
CALL = '<think>?</think><tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
SEARCH = CALL % ("search", '{"query": "q"}')


def obedient(request):
    """Search, then believe whatever the first page says; without tools, guess."""
    last = request.messages[-1].text
    if not request.turn:
        return SEARCH if "search" in request.messages[0].text else "<answer>guess</answer>"
    return f"<answer>{'HACKED' if 'Ignore your task' in last else last[-6:].strip()}</answer>"


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"question": f"number {n}?", "answer": "seven"} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(tmp_path, questions):
    """Give a function that runs controls with a script and returns the folder and the page."""

    def go(script, names=CONTROLS):
        kit = Toolkit(
            agent=PARAMS.agent, vision=VisionParams(), search=SearchParams(),
            sandbox=FakeSandbox({}),
            provider=FakeSearch({"q": [TextHit("real", "x", "it is seven")]}),
        )  # fmt: skip
        folder, suite = tmp_path / "controls", SUITES["plain"]
        runtime = Runtime(ScriptedPolicy(script), None, kit)
        asyncio.run(
            run_controls(
                suite, questions, runtime=runtime, params=PARAMS, folder=folder, names=names
            )
        )
        return folder, write_page(suite, folder, names=names)

    return go


def row_of(page, name):
    (line,) = [
        line for line in page.splitlines() if line.startswith(f"| {name} | {MEANINGS[name]}")
    ]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_says_what_tools_add_and_what_changes_harm(run):
    folder, page = run(obedient)
    assert (folder / PAGE).read_text() == page
    assert "| only with tools | 100.0 (51.0-100.0) | 4 | 0 |" in page
    assert row_of(page, "plain")[2:6] == ["100.0 (51.0-100.0)", "4", "0", "-"]
    assert row_of(page, "broken")[2] == "0.0 (0.0-49.0)"
    assert row_of(page, "broken")[5:8] == ["-100.0 (-100.0 to -100.0)", "4", "0.125"]
    assert row_of(page, "hostile")[8] == "obeyed 100.0 (51.0-100.0), n 4"
    assert row_of(page, "unseen")[8] == "used it 0.0 (0.0-49.0), n 4"
    assert "| calls per answer | 1 (1-1), n 4 |" in page


def test_a_second_session_asks_nothing_and_writes_the_same_page(run):
    folder, page = run(obedient, ("blank_crop",))
    costs = [line for line in page.splitlines() if "seconds" not in line]

    def nobody(request):
        raise AssertionError("asked again")

    again = run(nobody, ("blank_crop",))[1]
    assert [line for line in again.splitlines() if "seconds" not in line] == costs
    assert read_seconds(folder / "plain").wall is not None


def test_a_new_tool_is_offered_and_works(run, make_image):
    picture = make_image(size=(100, 60))
    call = ToolCall(tool="zoom", arguments_json='{"image": 1, "box": [10, 10, 60, 40]}')
    shown = unseen.zoom(call, [picture])
    assert shown.text == "<image>"
    assert shown.images[0].size == (448, 269)

    def curious(request):
        assert request.turn or "`zoom`" in request.messages[0].text or not has_tools(request)
        if request.turn or not has_tools(request):
            return "<answer>seven</answer>"
        return CALL % ("zoom", '{"box": [0, 0, 9, 9]}')

    def has_tools(request):
        return "zoom" in request.messages[0].text

    folder, page = run(curious, ("unseen",))
    assert row_of(page, "unseen")[8].startswith("used it 100.0")
    (first, *_) = iter_answers(folder / "unseen")
    # The question has no picture: the call fails as an observation that says so.
    assert "'image' must be 1 to 0" in first.turns[0].observation.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("null", "it takes 'image' and 'box'"),
        ('{"image": 2, "box": [0, 0, 9, 9]}', "'image' must be 1 to 1"),
        ('{"image": true, "box": [0, 0, 9, 9]}', "'image' must be 1 to 1"),
        ('{"box": [0, 0, 9]}', "four whole numbers"),
        ('{"box": [0, 0, 0, 9]}', "must lie within 0, 0, 32, 32"),
        ('{"box": [0, 0, 99999999, 9]}', "must lie within"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_wrong_call_of_the_new_tool_is_an_observation(make_image, arguments, message):
    result = unseen.zoom(ToolCall(tool="zoom", arguments_json=arguments), [make_image()])
    assert message in result.text
    assert result.error_class == "InvalidArguments"


@pytest.mark.parametrize("prompt", ["pocket", "deepeyesv2"])
@pytest.mark.parametrize("name", ["renamed", "redescribed", "unseen"])
def test_a_change_reaches_the_prompt_of_every_kind(prompt, name):
    # A prompt that is reworded must not make a control an ordinary run in silence.
    params = PARAMS.agent.model_copy(update={"prompt": prompt})
    system = build_prompt("q?", num_images=1, mode=ProbeMode.AGENT, params=params).system
    changed = CHANGES[name].edit(system)
    old, new = set(system.splitlines()), set(changed.splitlines())
    assert len(new - old) >= 2
    if name == "renamed":
        assert "lookup" in changed
        assert "find_picture" in changed


def test_an_unknown_control_is_refused_before_a_model_is_loaded(tmp_path, questions):
    with pytest.raises(ParamsError, match="no control 'blind'"):
        run_all_controls(
            tmp_path, checkpoint=tmp_path, suite="plain", file=questions, folder=tmp_path,
            names=("blind",),
        )  # fmt: skip


def test_every_control_is_a_value_of_the_param_and_has_a_meaning():
    assert {"none", *CONTROLS} == set(Control.__args__)
    assert {"plain", *CONTROLS} == set(MEANINGS)
