"""The command `run`: opens model and tools, answers, scores, writes the folder of the run."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agentic_vlm.agent.runtime import Runtime, open_kit, open_runtime
from agentic_vlm.errors import ParamsError
from agentic_vlm.evaluation.benchmark import Answered, answer_items, score_items
from agentic_vlm.evaluation.controls.catalogue import NO_CONTROL, tasks_runner
from agentic_vlm.evaluation.runs import RunCard, iter_answers, open_run, write_outages, write_scores
from agentic_vlm.evaluation.suites import SUITES, Suite
from agentic_vlm.grading import Mode
from agentic_vlm.grading.judges import open_judge
from agentic_vlm.params import Params, load_params
from agentic_vlm.store import ImageWriter

POLICY_KEY_VARIABLE = "AGENTIC_POLICY_KEY"


def run_benchmark(arguments: argparse.Namespace) -> None:
    """Answer and score a benchmark's file as the command line says.

    Raises:
        ParamsError: the options contradict each other, or the folder holds another run.
    """
    suite = SUITES[arguments.suite]
    params = with_tools(load_params(arguments.root / "params.yaml"), arguments.tools or suite.tools)
    if arguments.attempts > 1 and arguments.temperature == 0:
        what = "at temperature 0 every attempt is the same"
        raise ParamsError("--attempts", what, "give --temperature, such as 1.0")
    asyncio.run(_run(suite, params, arguments))


async def _run(suite: Suite, params: Params, arguments: argparse.Namespace) -> None:
    async with _open(params, arguments) as runtime:
        card = _card(suite, params, arguments, runtime.policy.policy_id)
        await run_and_score(
            suite,
            arguments.file,
            card=card,
            folder=arguments.out,
            runtime=runtime,
            params=params,
            control=arguments.control,
            rules=Mode(arguments.rules),
            root=arguments.root,
        )


async def run_and_score(
    suite: Suite,
    path: Path,
    *,
    card: RunCard,
    folder: Path,
    runtime: Runtime,
    params: Params,
    control: str = NO_CONTROL,
    rules: Mode = Mode.OFFICIAL,
    root: Path = Path(),
) -> Answered:
    """Answer every item that has no answer yet, grade all, and write the folder of the run.

    Args:
        suite: the benchmark.
        path: its file or folder.
        card: what the run is.
        folder: of the run.
        runtime: model and tools.
        params: of grading.
        control: how tools are changed.
        rules: whose rules grade a published benchmark.
        root: of the project, where verdicts of a judge are kept.
    """
    journal = open_run(folder, card)
    try:
        with ImageWriter(folder / "images", spool=folder / "pictures") as images:
            answered = await answer_items(
                suite,
                path,
                card=card,
                folder=folder,
                runtime=runtime,
                journal=journal,
                images=images,
                run_tasks=tasks_runner(control, runtime, temperature=card.temperature),
            )
    finally:
        journal.close()
    write_outages(folder, answered.outages)
    async with open_judge(params.grading, root=root) as judge:
        scores = await score_items(
            suite,
            [*iter_answers(folder), *answered.outages],
            answered.samples,
            model=card.model,
            judge=judge,
            params=params.grading,
            mode=rules,
        )
    figures = suite.aggregate(scores)
    write_scores(folder, samples=answered.samples, scores=scores, figures=figures)
    return answered


def with_tools(params: Params, wanted: Sequence[str]) -> Params:
    """Return the params of a run: of the tools of params.yaml those that it is asked with.

    Raises:
        ParamsError: none is left.
    """
    tools = tuple(tool for tool in params.agent.tools if tool in wanted)
    if not tools:
        what = f"agent.tools of params.yaml holds none of {', '.join(wanted)}"
        raise ParamsError("--tools", what, "name tools of params.yaml")
    return params.model_copy(update={"agent": params.agent.model_copy(update={"tools": tools})})


def _card(suite: Suite, params: Params, arguments: argparse.Namespace, policy_id: str) -> RunCard:
    model = policy_id if arguments.control == NO_CONTROL else f"{policy_id}, {arguments.control}"
    return RunCard(
        suite=suite.name,
        file=arguments.file.name,
        model=model,
        modes=tuple(arguments.modes),
        num_attempts=arguments.attempts,
        temperature=arguments.temperature,
        seed=arguments.seed,
        tools=params.agent.tools,
        prompt=params.agent.prompt,
        max_turns=params.agent.max_turns,
        limit=arguments.limit,
    )


@asynccontextmanager
async def _open(params: Params, arguments: argparse.Namespace) -> AsyncIterator[Runtime]:
    root: Path = arguments.root
    corpus = root / "data" / "corpus"
    if not arguments.policy_url:
        checkpoint = arguments.model or root / "models" / "rl"
        async with open_runtime(params, checkpoint=checkpoint, corpus=corpus) as runtime:
            yield runtime
        return
    if not arguments.policy_name:
        fix = "give --policy-name, as the server calls the model"
        raise ParamsError("--policy-url", "it needs the name of the model", fix)
    from agentic_vlm.backends.openai_http import build_openai

    policy = build_openai(
        arguments.policy_name,
        base_url=arguments.policy_url,
        api_key=os.environ.get(POLICY_KEY_VARIABLE, "none"),
    )
    async with open_kit(params, corpus=corpus) as kit:
        try:
            yield Runtime(policy, None, kit)
        finally:
            await policy.close()
