"""Teachers behind servers: shares, temperatures, budgets, and a server that dies half-way."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import (
    OpenAITeacher,
    Params,
    PooledTeacher,
    SearchParams,
    TeacherPool,
    VisionParams,
)
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.synthesis.budget import Budget
from agentic_vlm.synthesis.crew import Crew, Seat, build_crew
from agentic_vlm.synthesis.synthesize import SynthesisWork, write_trajectories
from agentic_vlm.tools.toolbox import Toolkit

SERVER = Path(__file__).with_name("chat_server.py")


def seat(name, weight, *temperatures):
    return Seat(ScriptedPolicy(lambda request: "", policy_id=name), temperatures or (1.0,), weight)


def test_teachers_get_their_share_and_the_same_attempts_each_time():
    crew = Crew((seat("a", 3.0), seat("b", 1.0)))
    chosen = [crew.assign(f"s{number}", 0)[0] for number in range(1000)]
    assert 690 < Counter(chosen)[0] < 810
    assert chosen == [crew.assign(f"s{number}", 0)[0] for number in range(1000)]


def test_temperatures_follow_the_schedule_of_attempts():
    crew = Crew((seat("a", 1.0, 0.2, 1.0),))
    assert [crew.assign("s", attempt)[1] for attempt in range(3)] == [0.2, 1.0, 0.2]


def test_a_bill_outlives_a_restart_and_stops_at_the_limit(tmp_path):
    path = tmp_path / "bill.jsonl"
    budget = Budget(path, max_usd=0.01)
    budget.set_price("m", usd_per_million_input=10.0, usd_per_million_output=100.0)
    budget.add("m", input_tokens=100, output_tokens=10)
    budget.check()
    with path.open("a") as file:
        file.write('["m", 1')
    again = Budget(path, max_usd=0.01)
    again.set_price("m", usd_per_million_input=10.0, usd_per_million_output=100.0)
    assert again.usage()["m"] == (1, 100, 10, pytest.approx(0.002))
    again.add("m", input_tokens=0, output_tokens=80)
    with pytest.raises(InfrastructureError, match=r"budget is spent: 0\.01 USD, 190 tokens"):
        again.check()


@pytest.mark.parametrize("text", ["-1", "much", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, tmp_path, text):
    monkeypatch.setenv("AGENTIC_TEACHER_MAX_USD", text)
    with pytest.raises(ParamsError, match="no positive number"):
        Budget.from_environment(tmp_path / "bill")


def test_a_teacher_without_an_address_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("OTHER_URL", raising=False)
    pool = TeacherPool(members=(PooledTeacher(model="m", url_env="OTHER_URL"),))
    with pytest.raises(InfrastructureError, match="OTHER_URL"):
        build_crew(with_teacher(pool), [], scratch=tmp_path)


def with_teacher(teacher, **agent):
    params = Params()
    section = params.synthesize.model_copy(update={"teacher": teacher, "num_attempts": 2})
    loop = params.agent.model_copy(update=agent)
    return params.model_copy(update={"synthesize": section, "agent": loop})


def start_server(folder, port=0):
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, str(SERVER), str(port_file), str(port)])
    while not port_file.exists():
        assert process.poll() is None, "the server did not start"
        time.sleep(0.01)
    return process, int(port_file.read_text())


async def synthesize(folder, samples, params, *, on_done=lambda count: None):
    work = SynthesisWork(folder / "scratch", folder / "images")
    kit = Toolkit(
        agent=params.agent,
        vision=VisionParams(),
        search=SearchParams(),
        sandbox=FakeSandbox({}),
        provider=FakeSearch(),
    )
    crew = build_crew(params, samples, scratch=folder / "scratch")
    try:
        await write_trajectories(
            samples,
            crew=crew,
            kit=kit,
            store=ImageStore.open(folder / "raw"),
            work=work,
            params=params,
            on_done=on_done,
        )
    finally:
        await crew.close()
    return work, crew


@pytest.fixture
def server(tmp_path, monkeypatch):
    process, port = start_server(tmp_path)
    monkeypatch.setenv("AGENTIC_TEACHER_URL", f"http://127.0.0.1:{port}/v1")
    running = [process]
    yield running, port
    for process in running:
        process.kill()
        process.wait()


def prepare(folder):
    ImageWriter(folder / "raw").close()
    return folder


def rows_of(work):
    return sorted(row.model_dump_json() for row in work.trajectories)


@pytest.mark.slow
def test_a_server_that_is_killed_half_way_changes_no_byte(tmp_path, server, make_sample):
    running, port = server
    samples = [
        make_sample(sample_id=f"s{number:02}", question=f"q{number}?") for number in range(24)
    ]
    pool = TeacherPool(members=(PooledTeacher(model="m"),), requests_per_minute=60_000.0)
    params = with_teacher(pool, max_concurrent=4)
    calm, crew = asyncio.run(synthesize(prepare(tmp_path / "calm"), samples, params))
    expected = rows_of(calm)
    assert len(expected) == 48
    assert all("</code>" in row and "</code> so" not in row for row in expected)
    assert crew.budget.usage()["m"].num_requests == 96

    async def disturbed():
        folder = prepare(tmp_path / "disturbed")
        run = asyncio.create_task(synthesize(folder, samples, params))
        parts = folder / "scratch" / "trajectories"
        while len(list(parts.glob("part-*"))) < 5:
            assert not run.done()
            await asyncio.sleep(0.01)
        os.kill(running[-1].pid, signal.SIGKILL)
        running[-1].wait()
        process, _ = await asyncio.to_thread(start_server, tmp_path, port)
        running.append(process)
        return await run

    work, _ = asyncio.run(disturbed())
    assert rows_of(work) == expected


@pytest.mark.slow
def test_a_spent_budget_keeps_what_is_finished_and_goes_on_later(
    tmp_path, server, make_sample, monkeypatch
):
    samples = [
        make_sample(sample_id=f"s{number:02}", question=f"q{number}?") for number in range(8)
    ]
    params = with_teacher(OpenAITeacher(model="m"), max_concurrent=2, max_infrastructure_retries=0)
    folder = prepare(tmp_path / "work")
    monkeypatch.setenv("AGENTIC_TEACHER_MAX_TOKENS", "1500")
    with pytest.raises(InfrastructureError, match="budget is spent"):
        asyncio.run(synthesize(folder, samples, params))
    monkeypatch.setenv("AGENTIC_TEACHER_MAX_TOKENS", "1000000")
    work, crew = asyncio.run(synthesize(folder, samples, params))
    assert len(rows_of(work)) == len({row.trajectory_id for row in work.trajectories}) == 16
    assert crew.budget.usage()["m"].num_requests <= 2 * 16 + 4
