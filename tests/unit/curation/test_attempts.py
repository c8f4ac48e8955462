import asyncio

from agentic_vlm.agent.runtime import Runtime
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.curation.attempts import ProbeWork, run_attempts
from agentic_vlm.curation.schedule import Rules, Schedule
from agentic_vlm.errors import BackendUnavailable
from agentic_vlm.params import Params
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import Verdict
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.store import ImageStore
from agentic_vlm.tools.toolbox import Toolkit
from tests.servers import serve_red


def probe(folder, samples, script):
    """Run all attempts with a scripted base; return the probes and how many turns it wrote."""
    turns = []

    def write(request):
        turns.append(request)
        return script(request)

    return run(folder, samples, ScriptedPolicy(write)), len(turns)


def run(folder, samples, policy, *, server=None):
    params = Params()
    agent = params.agent.model_copy(update={"max_infrastructure_retries": 0, "max_concurrent": 2})
    params = params.model_copy(update={"agent": agent})
    kit = Toolkit(agent, params.vision, params.search, FakeSandbox(), FakeSearch())
    work = ProbeWork(folder / "scratch", folder / "images")
    schedule = Schedule(samples, Rules.of(params.probe, params.allocate))
    asyncio.run(
        run_attempts(
            schedule,
            samples,
            runtime=Runtime(policy, None, kit, server=server),
            store=ImageStore({}),
            work=work,
            params=params,
            on_done=lambda count: None,
        )
    )
    return list(work.probes)


def served(folder, samples, *, max_requests=None):
    """Run all attempts with a server that refuses after some; return how many it answered."""
    seeds = []
    policy = serve_red(seeds, max_requests=max_requests, policy_id="base")
    try:
        return run(folder, samples, policy, server=policy), seeds
    except BackendUnavailable as fault:
        return fault, seeds


def test_attempts_stop_once_settled_and_are_not_made_again(tmp_path, make_sample):
    samples = {"e": make_sample(sample_id="e"), "h": make_sample(sample_id="h", answer="K47")}
    probes, num_turns = probe(tmp_path, samples, lambda request: "<answer>red</answer>")
    by_sample = {name: [p for p in probes if p.sample_id == name] for name in samples}
    assert [p.verdict for p in by_sample["e"]] == [Verdict.CORRECT] * 3
    assert [p.verdict for p in by_sample["h"]] == [Verdict.INCORRECT] * (6 + 8)
    assert num_turns == len(probes)
    again, num_new_turns = probe(tmp_path, samples, lambda request: "<answer>red</answer>")
    assert (again, num_new_turns) == (probes, 0)


def test_a_server_is_kept_busy_and_asked_for_the_attempts_of_the_chunks(tmp_path, make_sample):
    samples = {name: make_sample(sample_id=name, answer="K47") for name in "abc"}
    probes, seeds = served(tmp_path / "served", samples)
    in_chunks, _ = probe(tmp_path / "chunks", samples, lambda request: "<answer>red</answer>")
    assert len(seeds) == len(probes) == 3 * (6 + 8)
    assert sorted(map(str, probes)) == sorted(map(str, in_chunks))


def test_an_outage_is_never_a_wrong_answer(tmp_path, make_sample):
    def fail(request):
        raise BackendUnavailable("server", "gone", "start it")

    probes, _ = probe(tmp_path, {"a": make_sample(sample_id="a")}, fail)
    assert {(p.verdict, p.is_needed, p.stop_reason) for p in probes} == {
        (None, True, "infrastructure")
    }


def test_a_server_that_is_lost_ends_the_run_and_what_is_finished_is_not_asked_again(
    tmp_path, make_sample
):
    samples = {name: make_sample(sample_id=name, answer="K47") for name in "ab"}
    calm, all_seeds = served(tmp_path / "calm", samples)
    fault, first = served(tmp_path / "lost", samples, max_requests=9)
    assert isinstance(fault, BackendUnavailable)
    assert "finished attempts are kept" in fault.fix
    probes, second = served(tmp_path / "lost", samples)
    assert sorted(first + second) == sorted(all_seeds)
    assert sorted(map(str, probes)) == sorted(map(str, calm))
    assert len(calm) == 2 * (6 + 8)
    assert {probe.verdict for probe in probes} == {Verdict.INCORRECT}
