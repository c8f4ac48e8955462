"""Makes the judge that the params name."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai

from agentic_vlm.errors import InfrastructureError
from agentic_vlm.grading.judge import Judge, NoJudge
from agentic_vlm.grading.judges.askers import Asker, OpenAIAsker, load_local_asker
from agentic_vlm.grading.judges.budget import JudgeBudget
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.model import ModelJudge
from agentic_vlm.grading.judges.prompt import load_prompt
from agentic_vlm.params import GradingParams, JudgeOptions

URL_VARIABLE = "AGENTIC_JUDGE_URL"
KEY_VARIABLE = "AGENTIC_JUDGE_KEY"
CACHE_VARIABLE = "AGENTIC_JUDGE_CACHE"


@asynccontextmanager
async def open_judge(params: GradingParams, *, root: Path) -> AsyncIterator[Judge]:
    """Open the judge of the params and close it in the end.

    Args:
        params: name, prompt and budget of the judge.
        root: root of the project; verdicts are cached in `.scratch/judge` below it, or in the
            folder that the environment names.

    Raises:
        InfrastructureError: a server is asked for and its address is not in the environment.
        ParamsError: there is no prompt of that name.
    """
    if params.judge == "none":
        yield NoJudge()
        return
    options = params.judge_options
    judge = ModelJudge(
        _build_asker(params),
        name=params.judge_model,
        prompt=load_prompt(options.prompt),
        cache=VerdictCache(Path(os.environ.get(CACHE_VARIABLE, root / ".scratch" / "judge"))),
        budget=budget_of(options),
        max_tokens=options.max_tokens,
        max_concurrent=options.max_concurrent,
    )
    try:
        yield judge
    finally:
        await judge.close()


def budget_of(options: JudgeOptions) -> JudgeBudget:
    """Return the limits that the params name."""
    return JudgeBudget(
        max_calls=options.max_calls,
        max_tokens=options.max_total_tokens,
        max_cost=options.max_cost,
        price_per_million_in=options.price_per_million_in,
        price_per_million_out=options.price_per_million_out,
    )


def _build_asker(params: GradingParams) -> Asker | None:
    options = params.judge_options
    match params.judge:
        case "openai":
            base_url = os.environ.get(URL_VARIABLE, "")
            if not base_url:
                fix = f"export {URL_VARIABLE}=http://HOST:PORT/v1"
                raise InfrastructureError(URL_VARIABLE, "the judge has no address", fix)
            client = openai.AsyncOpenAI(
                base_url=base_url,
                api_key=os.environ.get(KEY_VARIABLE, "none"),
                timeout=options.timeout_s,
                max_retries=options.num_retries,
            )
            return OpenAIAsker(params.judge_model, client=client)
        case "local":
            return load_local_asker(Path(params.judge_model), max_batch=options.max_concurrent)
        case _:
            return None
