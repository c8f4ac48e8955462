"""A run over a benchmark's file: answered, killed, resumed, scored again, compared, exported."""

import asyncio
import base64
import io
import json

import pytest

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import BackendUnavailable, ParamsError
from agentic_vlm.evaluation.__main__ import main
from agentic_vlm.evaluation.controls.catalogue import CONTROLS
from agentic_vlm.evaluation.run_command import run_and_score
from agentic_vlm.evaluation.runs import RunCard, iter_answers, read_scores
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.params import AgentParams, Params, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import Verdict
from agentic_vlm.search.base import TextHit
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit

AGENT = AgentParams(
    max_concurrent=2, deterministic=False, max_infrastructure_retries=0, prompt="deepeyesv2"
)
PARAMS = Params(agent=AGENT)
CROP = "<think>look</think><code>\n```python\nimage_1\n```\n</code>"
SEARCH = '<think>?</think><tool_call>\n{"name": "NAME", "arguments": {"query": "q"}}\n</tool_call>'


@pytest.fixture
def questions(tmp_path):
    """Give a file of four questions whose answers are their numbers."""
    path = tmp_path / "questions.jsonl"
    rows = [{"question": f"What is number {n}?", "answer": str(n)} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(tmp_path, questions, make_image):
    """Give a function that runs the questions with a script, into a named folder."""

    def go(script, name="run", *, control=None, file=questions, **fields):
        agent = AGENT.model_copy(update={"tools": fields.get("tools", AGENT.tools)})
        kit = Toolkit(
            agent=agent, vision=VisionParams(), search=SearchParams(),
            sandbox=FakeSandbox({"image_1": CellResult(CellStatus.OK, images=(make_image(),))}),
            provider=FakeSearch({"q": [TextHit("real", "x", "real snippet")] * 3}),
        )  # fmt: skip
        known = {
            "suite": "plain", "file": file.name, "model": "scripted", "modes": ("agent",),
            "num_attempts": 1, "temperature": 0.0, "seed": 0, "tools": AGENT.tools,
            "prompt": AGENT.prompt, "max_turns": AGENT.max_turns,
        }  # fmt: skip
        card = RunCard.model_validate({**known, **fields})
        runtime = Runtime(ScriptedPolicy(script), None, kit)
        folder = tmp_path / name
        asyncio.run(
            run_and_score(
                SUITES[card.suite], file, card=card, folder=folder, runtime=runtime,
                params=PARAMS, control=control,
            )
        )  # fmt: skip
        return folder

    return go


def number_of(request):
    return request.messages[-1].text.partition("number ")[2][:1]


def right(request):
    return f"<answer>{number_of(request)}</answer>"


def wrong(request):
    return "<answer>99</answer>"


def test_every_item_is_answered_and_scored(run):
    scores = read_scores(run(right))
    assert [score.verdict for score in scores] == [Verdict.CORRECT] * 4


def test_a_killed_run_goes_on_with_the_next_item(run, tmp_path):
    asked = []

    def dying(request):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(request.episode_id)
        return right(request)

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        run(dying)
    kept = {row.trajectory_id for row in iter_answers(tmp_path / "run")}
    # A crash in the middle of a line loses that line and no other.
    with (tmp_path / "run" / "answers.jsonl").open("a") as file:
        file.write('{"trajectory_id": "torn')
    again = []

    def counting(request):
        again.append(request.episode_id)
        return right(request)

    scores = read_scores(run(counting))
    assert len(scores) == 4
    assert kept
    assert not kept & set(again)


def test_an_outage_is_asked_again_and_is_never_wrong(run, project):
    def broken(request):
        raise BackendUnavailable("server", "gone", "start it")

    folder = run(broken)
    assert {score.verdict for score in read_scores(folder)} == {Verdict.UNGRADED}
    assert main(["rescore", str(folder), "--root", str(project)]) == 0
    assert len(read_scores(folder)) == 4
    assert {score.verdict for score in read_scores(run(right))} == {Verdict.CORRECT}


def test_a_folder_takes_up_no_other_run(run):
    run(right)
    with pytest.raises(ParamsError, match="holds a run with other seed"):
        run(right, seed=1)


def test_attempts_and_modes_are_all_asked(run, capsys):
    folder = run(right, modes=("direct", "agent"), num_attempts=2, temperature=1.0)
    assert len(read_scores(folder)) == 16
    assert main(["show", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "pass@2" in told
    assert "by seed: 100.0, 100.0; mean 100.0, deviation 0.0" in told
    assert "only with tools" in told
    assert "calls per right answer" in told


SECTIONS = {"python": "# Python", "search": "# Text search", "image_search": "# Image search"}


def test_the_four_tool_settings_of_realx_stand_side_by_side(run, tmp_path, capsys, make_image):
    stream = io.BytesIO()
    make_image().save(stream, format="PNG")
    marks = {"perception": 1, "search": 1, "reason": 1}
    row = {"query": "Which colour?", "answer": "red or crimson", **marks,
           "image": base64.b64encode(stream.getvalue()).decode()}  # fmt: skip
    file = tmp_path / "realx.jsonl"
    file.write_text(json.dumps(row) + "\n")
    settings = {"none": (), "text": ("search",), "image": ("image_search",),
                "both": ("search", "image_search")}  # fmt: skip
    folders = []
    for name, found in settings.items():
        asked = []

        def answer(request, asked=asked):
            asked.append(request)
            return "<answer>crimson</answer>"

        own = {"tools": ("python", *found)} if found else {"modes": ("direct",)}
        folders.append(run(answer, name, file=file, suite="realx_bench_194", **own))
        told = "".join(message.text for request in asked for message in request.messages)
        offered = {tool for tool, section in SECTIONS.items() if section in told}
        assert offered == ({"python", *found} if found else set())
    # Two runs that nothing but the seed tells apart have a row each too.
    folders.append(run(right, "again", file=file, suite="realx_bench_194", modes=("direct",),
                       seed=1))  # fmt: skip
    assert main(["show", *map(str, folders)]) == 0
    table = capsys.readouterr().out.partition("### RealX-Bench")[2].splitlines()
    rows = [line.split("**")[1] for line in table if line.startswith("| **")]
    assert rows == [
        "scripted, direct", "scripted, agent (python + search)",
        "scripted, agent (python + image_search)", "scripted, agent", "scripted, direct, again",
    ]  # fmt: skip
    assert sum("100.0 (" in line for line in table) == 4


def test_mode_think_asks_for_reasoning_and_offers_no_tool(run, capsys):
    asked = []

    def reasoned(request):
        asked.append(request)
        return f"<think>{SEARCH}</think> so <answer>{number_of(request)}</answer>"

    folder = run(reasoned, modes=("direct", "think"))
    thought = [request for request in asked if "<think>" in request.messages[-1].text]
    assert len(thought) == 4
    assert all(len(request.messages) == 1 for request in thought)
    scores = read_scores(folder)
    assert {score.mode for score in scores} == {"direct", "think"}
    assert {score.verdict for score in scores} == {Verdict.CORRECT}
    assert {score.num_calls for score in scores} == {0}
    assert {row.protocol for row in iter_answers(folder)} == {"direct", "think"}
    assert main(["show", str(folder)]) == 0
    assert "scripted, think" in capsys.readouterr().out


def test_scores_are_the_same_when_graded_again(run, capsys, project):
    folder = run(right)
    before = {path.name: path.read_bytes() for path in (folder / "scores").iterdir()}
    assert main(["rescore", str(folder), "--root", str(project)]) == 0
    assert "4 answers graded again; 0 verdicts changed" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (folder / "scores").iterdir()} == before


def test_a_run_made_again_has_the_same_scores_and_answers(run):
    first, second = run(right, "first"), run(right, "second")
    for name in ("scores", "answers.jsonl", "figures.json"):
        paths = [folder / name for folder in (first, second)]
        files = [sorted(path.iterdir()) if path.is_dir() else [path] for path in paths]
        one, other = ([file.read_bytes() for file in found] for found in files)
        assert one == other


def test_two_runs_are_compared_question_by_question(run, capsys):
    first, second = run(right, "first"), run(wrong, "second")
    assert main(["compare", str(first), str(second)]) == 0
    told = capsys.readouterr().out
    assert "agent: +100.0 points" in told
    assert "only first 4, only second 0, McNemar p=0.125" in told


def test_runs_over_different_benchmarks_are_not_compared(run, capsys):
    first, second = run(right, "first"), run(right, "second", suite="tir_bench")
    assert main(["compare", str(first), str(second)]) == 1
    assert "are different benchmarks" in capsys.readouterr().err


def test_a_folder_without_a_run_says_so(tmp_path, capsys):
    assert main(["show", str(tmp_path)]) == 1
    assert "no run here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_opens_as_a_log_of_inspect(run, capsys, tmp_path):
    log_of = pytest.importorskip("inspect_ai.log", reason="the extra `inspect` is not installed")
    folder = run(right)
    target = tmp_path / "logs" / "plain.eval"
    target.parent.mkdir()
    assert main(["export", str(folder), "--to", str(target)]) == 0
    log = log_of.read_eval_log(str(target))
    assert (log.status, log.eval.task, len(log.samples)) == ("success", "plain", 4)
    assert {sample.scores["verdict"].value for sample in log.samples} == {"C"}
    assert log.results.scores[0].metrics["overall"].value == 1.0


def observations(folder):
    return [
        turn.observation
        for row in iter_answers(folder)
        for turn in row.turns
        if turn.observation is not None
    ]


def calling(text):
    return lambda request: wrong(request) if request.turn else text


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_run_ends(run, control):
    scores = read_scores(run(calling(SEARCH.replace("NAME", "search")), control=control))
    assert len(scores) == 4


def test_crops_can_show_something_else(run):
    real = observations(run(calling(CROP), "real"))
    blank = observations(run(calling(CROP), "blank", control="blank_crop"))
    assert [len(seen.images) for seen in blank] == [len(seen.images) for seen in real] == [1] * 4
    assert blank[0].images[0].sha256 != real[0].images[0].sha256
    assert blank[0].images[0].width_px == real[0].images[0].width_px


def test_broken_tools_are_observations_and_no_outages(run):
    folder = run(calling(CROP), control="broken")
    assert {seen.error_class for seen in observations(folder)} == {"RuntimeError"}
    assert {score.verdict for score in read_scores(folder)} == {Verdict.INCORRECT}


def test_hostile_pages_give_orders_that_are_data(run):
    text = observations(run(calling(SEARCH.replace("NAME", "search")), control="hostile"))[0].text
    assert "Ignore your task" in text
    assert "real snippet" in text
    assert "<answer>" not in text


def test_noise_leaves_room_for_real_hits(run):
    text = observations(run(calling(SEARCH.replace("NAME", "search")), control="noisy"))[0].text
    assert "Opening hours" in text
    assert "real snippet" in text


def test_renamed_tools_answer_to_their_new_names_only(run):
    systems = []

    def script(name):
        def write(request):
            systems.append(request.messages[0].text)
            return wrong(request) if request.turn else SEARCH.replace("NAME", name)

        return write

    new = observations(run(script("lookup"), "new", control="renamed"))
    old = observations(run(script("search"), "old", control="renamed"))
    assert "real snippet" in new[0].text
    assert {seen.error_class for seen in old} == {"UnknownTool"}
    assert all("`lookup`" in text and '"name": "search"' not in text for text in systems)


def test_missing_tools_are_offered_and_not_there(run):
    seen = observations(run(calling(SEARCH.replace("NAME", "search")), control="missing"))
    assert {one.error_class for one in seen} == {"UnknownTool"}
