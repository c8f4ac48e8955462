"""What the base reads after a broken call is what the loop would answer."""

import asyncio
import random

import pytest
from PIL import Image

from agentic_vlm.agent.parse import parse_turn
from agentic_vlm.params import AgentParams, SearchParams, VisionParams
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox.process import ProcessSandbox
from agentic_vlm.schema import SolutionStep, StepKind, ToolCall
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolbox, Toolkit
from agentic_vlm.training.pretrain_agent import _broken
from agentic_vlm.world.script import write_step

STEPS = (
    SolutionStep(kind=StepKind.CROP, box=(0, 56, 56, 112)),
    SolutionStep(kind=StepKind.COMPUTE, text="(12+5)*3"),
    SolutionStep(kind=StepKind.TEXT_SEARCH, text="Oru founded"),
    SolutionStep(kind=StepKind.IMAGE_SEARCH),
)


def answers_of_the_loop(calls: list[ToolCall]) -> list[str]:
    async def go() -> list[str]:
        sandbox = ProcessSandbox(SandboxParams(num_spares=0))
        kit = Toolkit(
            agent=AgentParams(),
            vision=VisionParams(),
            search=SearchParams(),
            sandbox=sandbox,
            provider=FakeSearch({}),
            style="compact",
        )
        box = Toolbox.for_episode(kit, images=[Image.new("RGB", (448, 448))], seed=0)
        found = [(await box.run(call)).text for call in calls]
        await box.close()
        await sandbox.close()
        return found

    return asyncio.run(go())


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.kind.value)
def test_a_broken_call_is_answered_as_the_loop_answers_it(step: SolutionStep) -> None:
    broken = sorted({_broken(random.Random(seed), step) for seed in range(8)})
    calls = [parse_turn(f"<think>Do it.</think>{action}") for action, _ in broken]
    assert all(isinstance(call, ToolCall) for call in calls)
    assert answers_of_the_loop(calls) == [fault for _, fault in broken]  # type: ignore[arg-type]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.kind.value)
def test_a_broken_call_holds_what_the_right_one_says(step: SolutionStep) -> None:
    content = ",".join(map(str, step.box)) if step.box else step.text
    assert content in write_step(step)
    assert all(content in _broken(random.Random(seed), step)[0] for seed in range(8))
