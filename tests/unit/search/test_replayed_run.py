"""Episodes that searched a service on the network give the same Parquet bytes without it."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.agent.batch import run_batch
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import Request
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.params import AgentParams, LiveSearchParams, SearchParams, VisionParams
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import ProbeMode, StopReason, Trajectory
from agentic_vlm.search import build
from agentic_vlm.store import write_records
from agentic_vlm.tools.toolbox import Toolkit

from .conftest import draw, encode
from .unruly import reply, serving

_THUMBNAIL = base64.b64encode(encode(draw(5))).decode()


def _write(request: Request) -> str:
    """Search for the picture, then for a text of the sample's own, then answer."""
    calls = [
        {"name": "image_search"},
        {"name": "search", "arguments": {"query": f"mill {request.episode_id}"}},
    ]
    if request.turn == len(calls):
        return "So it is.</think><answer>1731</answer>"
    lead = "" if request.turn else "<think>"
    return f"{lead}Ask.</think><tool_call>{json.dumps(calls[request.turn])}</tool_call>"


def _run(params: SearchParams, root: Path, num_tasks: int = 8) -> tuple[bytes, list[StopReason]]:
    """Run episodes; return the bytes of their Parquet file and how they ended."""
    picture = Image.new("RGB", (60, 60), "red")
    tasks = [
        EpisodeTask(f"s{number}", "When?", (picture,), (), ProbeMode.AGENT, 0, 7, "probe")
        for number in range(num_tasks)
    ]

    async def go() -> list[Trajectory]:
        kit = Toolkit(
            agent=AgentParams(max_infrastructure_retries=0),
            vision=VisionParams(),
            search=params,
            sandbox=FakeSandbox({}),
            provider=build(params, corpus=root / "corpus"),
        )
        try:
            episodes = await run_batch(
                tasks, policy=ScriptedPolicy(_write), kit=kit, renderer=None, temperature=1.0
            )
        finally:
            await kit.provider.close()
        return [episode.trajectory for episode in episodes]

    rows = asyncio.run(go())
    folder = root / params.recording
    write_records(folder, rows, Trajectory, key=lambda row: (row.trajectory_id,))
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.parquet")))
    return content, [row.stop_reason for row in rows]


def test_recorded_episodes_are_replayed_byte_for_byte_without_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveSearchParams(max_per_second=1e6, backoff_s=1e-4, max_tries=9, deadline_s=120.0)
    record = SearchParams(type="json", recording="record_missing", live=live)
    row = {"title": "Velmora", "link": "https://w.example/1", "snippet": "A mill of 1731."}
    good = reply({"data": [{**row, "thumbnail": _THUMBNAIL}]})
    # Faults of the service must leave no trace either.
    with serving(good, reply(status=500), good, reply(b"{"), good) as server:
        monkeypatch.setenv("AGENTIC_SEARCH_URL", server.address)
        recorded, ends = _run(record, tmp_path)
    assert set(ends) == {StopReason.ANSWER}
    monkeypatch.delenv("AGENTIC_SEARCH_URL")
    replay = record.model_copy(update={"recording": "replay"})
    assert _run(replay, tmp_path) == (recorded, ends)
    # What was never asked is an outage and no empty answer.
    _, ends = _run(replay, tmp_path, num_tasks=12)
    assert StopReason.INFRASTRUCTURE in ends


def test_a_spent_budget_ends_episodes_as_infrastructure_and_sends_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveSearchParams(max_per_second=1e6, deadline_s=120.0, max_calls=5)
    row = {"title": "Velmora", "link": "https://w.example/1", "snippet": "A mill of 1731."}
    with serving(reply({"data": [{**row, "thumbnail": _THUMBNAIL}]})) as server:
        monkeypatch.setenv("AGENTIC_SEARCH_URL", server.address)
        params = SearchParams(type="json", recording="record_missing", live=live)
        _, ends = _run(params, tmp_path)
        assert len(server.requests) == 5
        # One picture for all, and a text for each of four episodes.
        assert ends.count(StopReason.ANSWER) == 4
        assert ends.count(StopReason.INFRASTRUCTURE) == 4
        # What was paid for is kept: the next run, with a new budget, asks only for the rest.
        _, ends = _run(params, tmp_path)
    assert (len(server.requests), set(ends)) == (9, {StopReason.ANSWER})
