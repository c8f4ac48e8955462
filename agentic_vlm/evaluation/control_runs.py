"""All control runs of one checkpoint over one benchmark, and their page."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from agentic_vlm.agent.runtime import Runtime, open_runtime
from agentic_vlm.errors import ParamsError
from agentic_vlm.evaluation.controls.catalogue import CONTROLS, NO_CONTROL
from agentic_vlm.evaluation.controls.tables import PLAIN, ControlRun, render_controls
from agentic_vlm.evaluation.marking import modes_told
from agentic_vlm.evaluation.run_command import run_and_score, with_tools
from agentic_vlm.evaluation.runs import (
    RunCard,
    iter_answers,
    iter_outages,
    read_samples,
    read_scores,
    read_seconds,
)
from agentic_vlm.evaluation.suites import SUITES, Suite
from agentic_vlm.evaluation.tables import coverage_line
from agentic_vlm.grading import Mode
from agentic_vlm.params import Params, load_params

PAGE = "controls.md"
"""Name of the page in the folder of the runs."""


def run_all_controls(
    root: Path,
    *,
    checkpoint: Path,
    suite: str,
    file: Path,
    folder: Path,
    names: Sequence[str] = CONTROLS,
    limit: int | None = None,
    rules: Mode = Mode.OFFICIAL,
) -> str:
    """Run what is not there yet and return the page, which is written too.

    The model is loaded once. Each run has a folder of its own, DIR/CHECKPOINT/CONTROL, so that a
    killed session goes on with the next item and a new checkpoint begins anew; the page of the last
    session is DIR/controls.md.

    Args:
        root: of the project: params.yaml, and data/corpus for the search tools.
        checkpoint: folder of the model.
        suite: name of the benchmark.
        file: its file or folder.
        folder: of the runs.
        names: which controls; the plain run, with tools and without, is always there.
        limit: items asked at most; None for all.
        rules: whose rules grade a published benchmark.

    Raises:
        ParamsError: a name is unknown, or the folder holds other runs.
        ArtifactMissing: the checkpoint or the file is missing.
    """
    unknown = sorted(set(names) - set(CONTROLS))
    if unknown:
        raise ParamsError("controls", f"no control {unknown[0]!r}", f"name {', '.join(CONTROLS)}")
    chosen = SUITES[suite]
    params = with_tools(load_params(root / "params.yaml"), chosen.tools)

    async def run() -> Path:
        corpus = root / "data" / "corpus"
        async with open_runtime(params, checkpoint=checkpoint, corpus=corpus) as runtime:
            own = folder / runtime.policy.policy_id
            await run_controls(
                chosen, file, runtime=runtime, params=params, folder=own, names=names,
                limit=limit, rules=rules, root=root,
            )  # fmt: skip
            return own

    page = write_page(chosen, asyncio.run(run()), names=names)
    (folder / PAGE).write_text(page, encoding="utf-8")
    return page


async def run_controls(
    suite: Suite,
    path: Path,
    *,
    runtime: Runtime,
    params: Params,
    folder: Path,
    names: Sequence[str] = CONTROLS,
    limit: int | None = None,
    rules: Mode = Mode.OFFICIAL,
    root: Path = Path(),
) -> None:
    """Run the plain run and the controls, one after another; arguments as `run_all_controls`."""
    for name in (PLAIN, *names):
        policy_id = runtime.policy.policy_id
        card = RunCard(
            suite=suite.name,
            file=path.name,
            model=policy_id if name == PLAIN else f"{policy_id}, {name}",
            modes=("direct", "agent") if name == PLAIN else ("agent",),
            num_attempts=1,
            temperature=0.0,
            seed=params.seed,
            tools=params.agent.tools,
            prompt=params.agent.prompt,
            max_turns=params.agent.max_turns,
            limit=limit,
        )
        await run_and_score(
            suite, path, card=card, folder=folder / name, runtime=runtime, params=params,
            control=NO_CONTROL if name == PLAIN else name, rules=rules, root=root,
        )  # fmt: skip


def write_page(suite: Suite, folder: Path, *, names: Sequence[str] = CONTROLS) -> str:
    """Write `controls.md` from finished runs and return it; nothing is asked."""
    runs = [_read(folder / name) for name in (PLAIN, *names)]
    scores, num_items = runs[0].scores, len(read_samples(folder / PLAIN))
    coverage = coverage_line(suite, num_items)
    model = scores[0].model if scores else "no answers"
    page = render_controls(runs, title=f"{suite.title}, {model} ({coverage}; {modes_told(scores)})")
    (folder / PAGE).write_text(page, encoding="utf-8")
    return page


def _read(folder: Path) -> ControlRun:
    seconds = read_seconds(folder)
    return ControlRun(
        name=folder.name,
        scores=read_scores(folder),
        trajectories=[*iter_answers(folder), *iter_outages(folder)],
        seconds=seconds.wall,
        tool_seconds=seconds.tools,
    )
