"""run_episode: every stop reason, and who is to blame."""

import asyncio
from collections.abc import Callable

import pytest
from PIL import Image

from agentic_vlm.agent.context import check_exact
from agentic_vlm.agent.episode import run_episode
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.replay import replay
from agentic_vlm.agent.state import Episode
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import Completion, FinishReason, Request, SamplingParams
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import BackendUnavailable, SandboxUnavailable
from agentic_vlm.schema import (
    ImageRef,
    ObservationStatus,
    ParseFailure,
    ProbeMode,
    StopReason,
    ToolCall,
)
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.base import ToolResult
from agentic_vlm.tools.toolbox import Toolbox, Toolkit
from agentic_vlm.vision import decode_image

ANSWER = "it is red</think><answer>red</answer>"
SEARCH = '<think></think><tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call>'


def code(name: str) -> str:
    return f"look</think><code>\n```python\n{name}\n```\n</code>"


@pytest.fixture
def run(
    make_kit: Callable[..., Toolkit], make_task: Callable[..., EpisodeTask], renderer: Renderer
) -> Callable[..., Episode]:
    """Run an episode whose policy writes the given turns."""

    def go(
        *turns: str, task: EpisodeTask | None = None, text: bool = False, **kit: object
    ) -> Episode:
        task = task or make_task()
        tools = make_kit(**{"max_turn_tokens": 200, "max_context_tokens": 2000} | kit)
        encoder = None if text else renderer
        policy = ScriptedPolicy(lambda request: turns[request.turn], encoder=encoder)
        return asyncio.run(
            run_episode(
                task,
                policy=policy,
                toolbox=Toolbox.for_episode(tools, images=task.images, seed=task.seed),
                renderer=encoder,
                params=tools.agent,
                temperature=1.0,
            )
        )

    return go


Run = Callable[..., Episode]


def test_an_answer_ends_the_episode(run: Run) -> None:
    trajectory = run(code("sum"), ANSWER).trajectory
    assert (trajectory.stop_reason, trajectory.answer) == (StopReason.ANSWER, "red")
    assert trajectory.turns[0].observation is not None
    assert trajectory.turns[0].observation.text == "stdout: 42"
    assert trajectory.turns[1].observation is None


def test_every_turn_but_the_first_is_prefilled(run: Run) -> None:
    turns = run(code("sum"), code("sum"), ANSWER).trajectory.turns
    assert [turn.prefill for turn in turns] == ["", "<think>", "<think>"]


def test_a_direct_episode_has_one_turn_and_no_tools(
    run: Run, make_task: Callable[..., EpisodeTask]
) -> None:
    trajectory = run("red", task=make_task(mode=ProbeMode.DIRECT)).trajectory
    assert (trajectory.answer, trajectory.protocol, trajectory.system) == ("red", "direct", "")


def test_one_turn_without_an_action_is_told_and_may_recover(run: Run) -> None:
    trajectory = run("hm", ANSWER).trajectory
    assert trajectory.stop_reason is StopReason.ANSWER
    assert trajectory.turns[0].observation is not None
    assert (
        trajectory.turns[0].observation.text == "Error: no code, tool_call or answer in this turn"
    )
    assert trajectory.turns[0].observation.status is ObservationStatus.MALFORMED


def test_two_turns_in_a_row_without_an_action_end_it(run: Run) -> None:
    trajectory = run("hm", "hm").trajectory
    assert trajectory.stop_reason is StopReason.NO_ACTION
    assert all(isinstance(turn.action, ParseFailure) for turn in trajectory.turns)


def test_patience_starts_anew_after_an_action(run: Run) -> None:
    assert run("hm", code("sum"), "hm", ANSWER).trajectory.stop_reason is StopReason.ANSWER


def test_the_release_has_no_patience(run: Run) -> None:
    trajectory = run("hm", ANSWER, parity="release").trajectory
    assert trajectory.stop_reason is StopReason.NO_ACTION
    assert len(trajectory.turns) == 1


def test_the_last_turn_runs_no_tool_and_forces_no_answer(run: Run) -> None:
    trajectory = run(code("sum"), code("sum"), max_turns=2).trajectory
    assert (trajectory.stop_reason, trajectory.answer) == (StopReason.TURN_LIMIT, None)
    assert trajectory.turns[1].observation is None


def test_a_turn_that_its_token_limit_cuts_ends_as_length(run: Run) -> None:
    trajectory = run("x" * 50, max_turn_tokens=20).trajectory
    assert trajectory.stop_reason is StopReason.LENGTH
    assert trajectory.turns[0].num_tokens == 20


def test_an_observation_that_does_not_fit_is_not_shown(run: Run) -> None:
    full = run(code("two"), ANSWER)
    assert full.context is not None
    limit = len(full.context.prompt_ids) + full.context.turn_spans[1][0]
    episode = run(code("two"), ANSWER, max_context_tokens=limit)
    assert episode.trajectory.stop_reason is StopReason.LENGTH
    assert episode.trajectory.turns[0].observation is None
    assert episode.context is not None
    assert len(episode.context.images) == 1
    assert episode.pictures == {}


def test_a_prompt_without_room_for_a_turn_ends_as_length(run: Run) -> None:
    trajectory = run(ANSWER, max_context_tokens=60, max_turn_tokens=10).trajectory
    assert (trajectory.stop_reason, trajectory.turns) == (StopReason.LENGTH, ())


def test_an_error_in_the_code_is_an_observation(run: Run) -> None:
    trajectory = run(code("bad"), ANSWER).trajectory
    assert trajectory.num_failed_calls == 1
    assert trajectory.turns[0].observation is not None
    assert trajectory.turns[0].observation.text == "stderr: ZeroDivisionError: division by zero"


def test_a_dead_search_engine_is_never_a_wrong_answer(run: Run) -> None:
    trajectory = run(SEARCH, ANSWER, search=FakeSearch(num_outages=1)).trajectory
    assert trajectory.stop_reason is StopReason.INFRASTRUCTURE
    assert trajectory.answer is None
    assert trajectory.failure.startswith("fake search: an outage was asked for")


def test_a_dead_sandbox_is_never_a_wrong_answer(
    make_kit: Callable[..., Toolkit], make_task: Callable[..., EpisodeTask]
) -> None:
    class DeadTool:
        name = "python"

        async def run(self, call: ToolCall) -> ToolResult:
            raise SandboxUnavailable("sandbox", "gone", "start it")

        async def close(self) -> None:
            return None

    episode = asyncio.run(
        run_episode(
            make_task(),
            policy=ScriptedPolicy(lambda request: code("sum")),
            toolbox=Toolbox([DeadTool()], deadline_s=1.0),
            renderer=None,
            params=make_kit().agent,
            temperature=1.0,
        )
    )
    assert episode.trajectory.stop_reason is StopReason.INFRASTRUCTURE


def test_a_dead_backend_is_never_a_wrong_answer(
    make_kit: Callable[..., Toolkit], make_task: Callable[..., EpisodeTask]
) -> None:
    def fail(request: Request) -> str:
        raise BackendUnavailable("server", "gone", "start it")

    kit, task = make_kit(), make_task()
    episode = asyncio.run(
        run_episode(
            task,
            policy=ScriptedPolicy(fail),
            toolbox=Toolbox.for_episode(kit, images=task.images, seed=1),
            renderer=None,
            params=kit.agent,
            temperature=1.0,
        )
    )
    assert episode.trajectory.stop_reason is StopReason.INFRASTRUCTURE
    assert episode.trajectory.failure == "server: gone\n  fix: start it"


def test_the_mask_holds_what_the_policy_wrote_with_two_tool_images(
    run: Run, renderer: Renderer
) -> None:
    context = run(code("two"), ANSWER).context
    assert context is not None
    pairs = zip(context.completion_ids, context.loss_mask, strict=True)
    written = renderer.tokenizer.decode([token for token, is_ours in pairs if is_ours])
    assert written == code("two") + ANSWER + "<|im_end|>"
    assert [image.size for image in context.images] == [(112, 112), (112, 112), (140, 140)]
    check_exact(context)


def test_text_and_token_policies_make_the_same_trajectory(run: Run) -> None:
    by_text = run(code("two"), ANSWER, text=True).trajectory
    by_tokens = run(code("two"), ANSWER).trajectory
    without_counts = [turn.model_copy(update={"num_tokens": 0}) for turn in by_tokens.turns]
    assert by_text.turns == tuple(without_counts)


def test_a_stored_trajectory_replays_to_the_same_tokens(run: Run, renderer: Renderer) -> None:
    episode = run(code("two"), "hm", ANSWER)
    task_image = Image.new("RGB", (112, 112), "red")

    def load(ref: ImageRef) -> Image.Image:
        encoded = episode.pictures.get(ref.sha256)
        return task_image if encoded is None else decode_image(encoded, where=ref.sha256)

    context = replay(episode.trajectory, renderer=renderer, load=load)
    assert episode.context is not None
    assert context.ids == episode.context.ids
    assert context.loss_mask == episode.context.loss_mask
    assert [p.digest for p in context.placed] == [p.digest for p in episode.context.placed]


def test_the_tokens_that_a_server_counts_end_an_episode_that_is_too_long(
    make_kit: Callable[..., Toolkit], make_task: Callable[..., EpisodeTask]
) -> None:
    task, tools = make_task(), make_kit(max_turn_tokens=40, max_context_tokens=100)
    rooms: list[int] = []

    class Counting(ScriptedPolicy):
        async def complete(self, request: Request, params: SamplingParams) -> Completion:
            rooms.append(params.max_tokens)
            num = 70 + 30 * request.turn
            return Completion(SEARCH, FinishReason.STOP, None, None, num_context_tokens=num)

    episode = asyncio.run(
        run_episode(
            task,
            policy=Counting(lambda request: ""),
            toolbox=Toolbox.for_episode(tools, images=task.images, seed=task.seed),
            renderer=None,
            params=tools.agent,
            temperature=1.0,
        )
    )
    assert episode.trajectory.stop_reason is StopReason.LENGTH
    assert rooms == [40, 30]
