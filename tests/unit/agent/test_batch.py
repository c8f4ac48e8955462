"""run_batch: concurrency, retries, and independence of order."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import Completion, FinishReason, Request
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.schema import StopReason
from agentic_vlm.search.base import TextHit
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.search.meter import current_bill
from agentic_vlm.store import logging_latencies
from agentic_vlm.store.latencies import read_latencies
from agentic_vlm.tools.toolbox import Toolkit

SEARCH = '<tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call>'
ANSWER = "</think><answer>red</answer>"

MakeKit = Callable[..., Toolkit]
MakeTask = Callable[..., EpisodeTask]


def search_then_answer(request: Request) -> str:
    return ANSWER if request.turn else SEARCH


class SlowSearch(FakeSearch):
    """Counts how many searches run at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.num_running = 0
        self.most_running = 0

    async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        await asyncio.sleep(0.05)
        self.num_running -= 1
        return []


class CountingPolicy(ScriptedPolicy):
    """Records the announcements."""

    def __init__(self) -> None:
        super().__init__(search_then_answer)
        self.num_open = 0
        self.most_open = 0
        self.ended: list[str] = []

    def expect(self, num_episodes: int) -> None:
        self.num_open += num_episodes
        self.most_open = max(self.most_open, self.num_open)

    def done(self, episode_id: str) -> None:
        self.num_open -= 1
        self.ended.append(episode_id)


def test_tools_of_128_episodes_run_at_the_same_time(make_kit: MakeKit, make_task: MakeTask) -> None:
    search = SlowSearch()
    tasks = [make_task(str(i)) for i in range(128)]
    asyncio.run(
        run_batch(
            tasks,
            policy=ScriptedPolicy(search_then_answer),
            kit=make_kit(search=search, max_concurrent=128),
            renderer=None,
            temperature=1.0,
        )
    )
    assert search.most_running == 128


def test_no_more_episodes_run_than_allowed(make_kit: MakeKit, make_task: MakeTask) -> None:
    search = SlowSearch()
    asyncio.run(
        run_batch(
            [make_task(str(i)) for i in range(9)],
            policy=ScriptedPolicy(search_then_answer),
            kit=make_kit(search=search, max_concurrent=3),
            renderer=None,
            temperature=1.0,
        )
    )
    assert search.most_running == 3


def test_the_policy_hears_of_every_episode_and_of_its_end(
    make_kit: MakeKit, make_task: MakeTask
) -> None:
    policy = CountingPolicy()
    tasks = [make_task(str(i)) for i in range(7)]
    asyncio.run(
        run_batch(
            tasks, policy=policy, kit=make_kit(max_concurrent=3), renderer=None, temperature=1.0
        )
    )
    assert policy.num_open == 0
    # The following episode is announced before the one that makes room for it is done.
    assert policy.most_open == 4
    assert sorted(policy.ended) == sorted(task.episode_id(policy.policy_id) for task in tasks)


def test_the_order_of_tasks_never_changes_an_episode(
    make_kit: MakeKit, make_task: MakeTask, renderer: Renderer
) -> None:
    tasks = [make_task(str(i)) for i in range(6)]

    def trajectories(order: list[EpisodeTask]) -> dict[str, str]:
        episodes = asyncio.run(
            run_batch(
                order,
                policy=ScriptedPolicy(search_then_answer, encoder=renderer),
                kit=make_kit(max_concurrent=2),
                renderer=renderer,
                temperature=1.0,
            )
        )
        return {e.trajectory.sample_id: e.trajectory.model_dump_json() for e in episodes}

    assert trajectories(tasks) == trajectories(tasks[::-1])


def test_an_outage_is_tried_again_from_the_same_prompt_with_the_same_seed(
    make_kit: MakeKit, make_task: MakeTask
) -> None:
    seen: list[Request] = []

    def script(request: Request) -> str:
        seen.append(request)
        return search_then_answer(request)

    kit = make_kit(search=FakeSearch(num_outages=1), max_infrastructure_retries=1)
    episodes = asyncio.run(
        run_batch(
            [make_task()],
            policy=ScriptedPolicy(script),
            kit=kit,
            renderer=None,
            temperature=1.0,
            backoff_s=0.0,
        )
    )
    assert episodes[0].trajectory.stop_reason is StopReason.ANSWER
    assert [request.turn for request in seen] == [0, 0, 1]
    assert seen[0].messages == seen[1].messages


def test_an_outage_that_lasts_ends_as_infrastructure(
    make_kit: MakeKit, make_task: MakeTask
) -> None:
    kit = make_kit(search=FakeSearch(num_outages=9), max_infrastructure_retries=2)
    episodes = asyncio.run(
        run_batch(
            [make_task()],
            policy=ScriptedPolicy(search_then_answer),
            kit=kit,
            renderer=None,
            temperature=1.0,
            backoff_s=0.0,
        )
    )
    assert episodes[0].trajectory.stop_reason is StopReason.INFRASTRUCTURE


def test_one_broken_episode_never_stops_the_rest(make_kit: MakeKit, make_task: MakeTask) -> None:
    broken = make_task("broken")

    def script(request: Request) -> str | Completion:
        if request.episode_id == broken.episode_id("scripted:script"):
            raise KeyError("a bug")
        return Completion(ANSWER, FinishReason.STOP, None, None)

    finished: list[str] = []
    episodes = asyncio.run(
        run_batch(
            [broken, make_task("whole")],
            policy=ScriptedPolicy(script),
            kit=make_kit(),
            renderer=None,
            temperature=1.0,
            on_episode=lambda task, episode: finished.append(task.sample_id),
        )
    )
    assert [e.trajectory.stop_reason for e in episodes] == [
        StopReason.INFRASTRUCTURE,
        StopReason.ANSWER,
    ]
    assert episodes[0].trajectory.failure == "KeyError: 'a bug'"
    assert sorted(finished) == ["broken", "whole"]


def test_seconds_of_calls_are_logged_apart_from_the_trajectories(
    make_kit: MakeKit, make_task: MakeTask, tmp_path: Path
) -> None:
    with logging_latencies(tmp_path / ".scratch" / "probe"):
        episodes = asyncio.run(
            run_batch(
                [make_task(str(i)) for i in range(3)],
                policy=ScriptedPolicy(search_then_answer),
                kit=make_kit(),
                renderer=None,
                temperature=1.0,
            )
        )
    rows = read_latencies(tmp_path / "metrics/timings/calls/probe.jsonl").to_pylist()
    assert {(row["trajectory_id"], row["turn"], row["tool"]) for row in rows} == {
        (episode.trajectory.trajectory_id, 0, "search") for episode in episodes
    }
    assert all(row["latency_s"] >= 0 for row in rows)


def test_a_search_that_was_paid_before_an_outage_is_in_the_log(
    make_kit: MakeKit, make_task: MakeTask, tmp_path: Path
) -> None:
    class Paid(FakeSearch):
        async def search_text(self, query: str, *, num_hits: int) -> list[TextHit]:
            current_bill().add(usd=0.002)
            return await super().search_text(query, num_hits=num_hits)

    with logging_latencies(tmp_path / ".scratch" / "probe"):
        asyncio.run(
            run_batch(
                [make_task()],
                policy=ScriptedPolicy(search_then_answer),
                kit=make_kit(search=Paid(num_outages=1), max_infrastructure_retries=1),
                renderer=None,
                temperature=1.0,
                backoff_s=0.0,
            )
        )
    rows = read_latencies(tmp_path / "metrics/timings/calls/probe.jsonl").to_pylist()
    assert [(row["turn"], row["cost_usd"]) for row in rows] == [(0, 0.002), (0, 0.002)]
