"""Answering suites with a model, and grading the answers."""

import asyncio

import pytest

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import BackendUnavailable
from agentic_vlm.evaluation.run import (
    Collector,
    collect_episodes,
    grade_trajectories,
    iter_scores,
    plan_asks,
)
from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.summary import summarize
from agentic_vlm.grading import NoJudge
from agentic_vlm.params import AgentParams, GradingParams, Params, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import Trajectory, Verdict
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.store import ImageStore, ImageWriter, Parts
from agentic_vlm.tools.toolbox import Toolkit
from tests.servers import serve_red

PARAMS = Params(agent=AgentParams(max_concurrent=2, max_infrastructure_retries=0))
CROP = "<think>look</think><code>\n```python\nimage_1.crop((0, 0, 30, 30))\n```\n</code>"
ANSWER = "it is red</think><answer>red</answer>"


@pytest.fixture
def suite(tmp_path, make_sample, make_image):
    with ImageWriter(tmp_path / "images") as images:
        ref = images.add(make_image())
    return [make_sample(question=f"q{number}?", images=(ref,)) for number in range(4)]


@pytest.fixture
def evaluate(tmp_path, make_image, suite):
    """Give a function that answers the suite with tools and returns trajectories and pictures."""
    crop = CellResult(CellStatus.OK, images=(make_image("green"),))

    def run(script, server=None, control="none", modes=(RunMode.AGENT,)):
        params = PARAMS.model_copy(
            update={"evaluate": PARAMS.evaluate.model_copy(update={"control": control})}
        )
        kit = Toolkit(
            agent=PARAMS.agent, vision=VisionParams(), search=SearchParams(),
            sandbox=FakeSandbox({"image_1.crop((0, 0, 30, 30))": crop}), provider=FakeSearch(),
        )  # fmt: skip
        done = []
        collector = Collector(
            pictures=ImageStore.open(tmp_path / "images"),
            parts=Parts(tmp_path / "parts", Trajectory, row_id=lambda row: row.trajectory_id),
            images=ImageWriter(tmp_path / "seen", spool=tmp_path / "spool"),
            on_done=done.append,
        )
        asks = plan_asks({"pocket": suite}, modes)
        runtime = Runtime(server or ScriptedPolicy(script), None, kit, server=server)
        asyncio.run(collect_episodes(asks, runtime=runtime, collector=collector, params=params))
        collector.images.close()
        return list(collector.parts), sum(done)

    return run


def good(request):
    return ANSWER if request.turn else CROP


def grade(trajectories, suite):
    samples = {sample.sample_id: sample for sample in suite}
    return asyncio.run(
        grade_trajectories(trajectories, samples, judge=NoJudge(), params=GradingParams())
    )


def test_every_sample_is_answered_with_its_pictures_and_graded(tmp_path, evaluate, suite):
    trajectories, num_done = evaluate(good)
    scores = list(iter_scores(grade(trajectories, suite), {"pocket": suite}, model="base"))
    assert num_done == 4
    assert [score.verdict for score in scores] == [Verdict.CORRECT] * 4
    assert {score.num_calls for score in scores} == {1}
    shown = trajectories[0].turns[0].observation.images[0]
    assert shown.sha256 in ImageStore.open(tmp_path / "seen")


def test_a_control_run_changes_what_tools_give_back(tmp_path, evaluate):
    blank = evaluate(good, control="blank_crop")[0][0].turns[0].observation.images[0]
    pixels = ImageStore.open(tmp_path / "seen").get(blank).convert("RGB").getcolors()
    assert [colour for _, colour in pixels] == [(128, 128, 128)]


def test_renamed_tools_answer_in_the_order_of_the_samples(evaluate, suite):
    call = '{"name": "search", "arguments": {"query": "a"}}'
    old_name = f"<think>hm</think><tool_call>{call}</tool_call>"
    trajectories, num_done = evaluate(
        lambda request: ANSWER if request.turn else old_name, control="renamed"
    )
    assert [row.sample_id for row in trajectories] == [row.sample_id for row in suite]
    assert num_done == 4
    assert {row.turns[0].observation.error_class for row in trajectories} == {"UnknownTool"}


def test_a_killed_run_goes_on_after_its_last_whole_chunk(evaluate, suite):
    asked = []

    def dying(request):
        if len(asked) >= 4:
            raise KeyboardInterrupt
        asked.append(request.episode_id)
        return good(request)

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        evaluate(dying)
    again = []

    def counting(request):
        again.append(request.episode_id)
        return good(request)

    trajectories, num_done = evaluate(counting)
    assert len({row.trajectory_id for row in trajectories}) == len(trajectories) == 4
    assert num_done == 4
    assert not set(asked) & set(again)


def test_an_outage_is_ungraded_and_never_wrong(evaluate, suite):
    def broken(request):
        raise BackendUnavailable("server", "gone", "start it")

    graded = grade(evaluate(broken)[0], suite)
    scores = list(iter_scores(graded, {"pocket": suite}, model="base"))
    assert {score.verdict for score in scores} == {Verdict.UNGRADED}
    assert {score.rule for score in scores} == {"infrastructure"}


def test_an_episode_without_answer_is_wrong(evaluate, suite):
    graded = grade(evaluate(lambda request: "hm")[0], suite)
    assert {trajectory.verdict for trajectory, _ in graded} == {Verdict.INCORRECT}
    assert {trajectory.stop_reason.value for trajectory, _ in graded} == {"no_action"}


def test_a_sample_of_two_suites_is_asked_once_and_counted_twice(evaluate, suite):
    suites = {"pocket": suite, "other": suite[:1]}
    assert len(plan_asks(suites, (RunMode.AGENT,))) == 4
    scores = list(iter_scores(grade(evaluate(good)[0], suite), suites, model="base"))
    assert [score.suite for score in scores] == ["pocket"] * 4 + ["other"]


def test_every_mode_asks_every_sample(suite):
    asks = plan_asks({"pocket": suite}, tuple(RunMode))
    assert [ask.mode for ask in asks] == ["direct"] * 4 + ["think"] * 4 + ["agent"] * 4


def test_mode_think_asks_for_reasoning_without_tools_and_is_scored_apart(evaluate, suite):
    """Reasoning finds the answer, the answer alone is wrong, and so is what stands in a thought."""

    def script(request):
        asked = request.messages[-1].text
        assert len(request.messages) == 1, "no system message tells of tools"
        if "Think step by step inside <think> </think>" in asked:
            return "<think>not <answer>blue</answer> but</think><answer>red</answer>"
        return "<answer>blue</answer>"

    trajectories, num_done = evaluate(script, modes=(RunMode.DIRECT, RunMode.THINK))
    assert num_done == len({row.trajectory_id for row in trajectories}) == 8
    scores = list(iter_scores(grade(trajectories, suite), {"pocket": suite}, model="base"))
    told = summarize(scores, num_bootstrap=100, seed=0)
    means = {name: entry["all"]["accuracy"]["mean"] for name, entry in told["models"].items()}
    assert means == {"base_direct": 0.0, "base_think": 1.0}
    assert told["paired"]["base_think_minus_base_direct"]["all"]["num_gained"] == 4
    assert {score.num_calls for score in scores} == {0}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>red, or", None),
        ("<think>maybe <answer>blue</answer></think> red", "red"),
        ("<think>red</think>", None),
        ("<think>blue?</think><answer></answer><answer>red</answer>", "red"),
    ],
)
def test_what_stands_in_a_thought_is_no_answer(evaluate, suite, text, answer):
    trajectories, _ = evaluate(lambda request: text, modes=(RunMode.THINK,))
    scores = list(iter_scores(grade(trajectories, suite), {"pocket": suite}, model="base"))
    verdict = Verdict.INCORRECT if answer is None else Verdict.CORRECT
    assert {(score.verdict, score.answer) for score in scores} == {(verdict, answer)}


def test_a_lost_server_ends_the_run_and_only_what_it_ended_is_asked_again(evaluate):
    first, second = [], []
    with pytest.raises(BackendUnavailable, match="finished attempts are kept"):
        evaluate(None, server=serve_red(first, max_requests=3))
    trajectories, num_done = evaluate(None, server=serve_red(second, max_requests=9))
    assert (len(first), len(second), num_done) == (3, 1, 4)
    assert {row.stop_reason.value for row in trajectories} == {"answer"}
    assert len({row.trajectory_id for row in trajectories}) == len(trajectories) == 4
