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


def probe(folder, samples, script):
    """Run all attempts with a scripted base; return the probes and how many turns it wrote."""
    params = Params()
    agent = params.agent.model_copy(update={"max_infrastructure_retries": 0})
    kit = Toolkit(agent, params.vision, params.search, FakeSandbox(), FakeSearch())
    turns = []

    def write(request):
        turns.append(request)
        return script(request)

    work = ProbeWork(folder / "scratch", folder / "images")
    schedule = Schedule(samples, Rules.of(params.probe, params.allocate))
    asyncio.run(
        run_attempts(
            schedule,
            samples,
            runtime=Runtime(ScriptedPolicy(write), None, kit),
            store=ImageStore({}),
            work=work,
            params=params,
            on_done=lambda count: None,
        )
    )
    return list(work.probes), len(turns)


def test_attempts_stop_once_settled_and_are_not_made_again(tmp_path, make_sample):
    samples = {"e": make_sample(sample_id="e"), "h": make_sample(sample_id="h", answer="K47")}
    probes, num_turns = probe(tmp_path, samples, lambda request: "<answer>red</answer>")
    by_sample = {name: [p for p in probes if p.sample_id == name] for name in samples}
    assert [p.verdict for p in by_sample["e"]] == [Verdict.CORRECT] * 3
    assert [p.verdict for p in by_sample["h"]] == [Verdict.INCORRECT] * (6 + 8)
    assert num_turns == len(probes)
    again, num_new_turns = probe(tmp_path, samples, lambda request: "<answer>red</answer>")
    assert (again, num_new_turns) == (probes, 0)


def test_an_outage_is_never_a_wrong_answer(tmp_path, make_sample):
    def fail(request):
        raise BackendUnavailable("server", "gone", "start it")

    probes, _ = probe(tmp_path, {"a": make_sample(sample_id="a")}, fail)
    assert {(p.verdict, p.is_needed, p.stop_reason) for p in probes} == {
        (None, True, "infrastructure")
    }
