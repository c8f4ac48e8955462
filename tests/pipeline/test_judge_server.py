"""The pocket model as a judge: `python -m agentic_vlm.serve` in a process of its own."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_vlm.errors import JudgeBudgetSpent, JudgeUnavailable
from agentic_vlm.grading import grade_with_judge
from agentic_vlm.grading.judges import JudgeCounts, open_judge
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.prompt import parse_reply
from agentic_vlm.params import GradingParams, JudgeOptions
from agentic_vlm.schema import CuratedSample, Verdict
from flows.params import write_params

ROOT = Path(__file__).parents[2]
KEY = "a key of the test"
# The question of a judge is longer than one of the pocket world.
OVERRIDES = ("agent.max_context_tokens=6000", "agent.max_turn_tokens=24", "agent.max_turns=2")
ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+/v1) serves agent")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a project whose base model is served as a judge; the environment says where."""
    root = tmp_path_factory.mktemp("judge")
    shutil.copytree(ROOT / "models" / "base", root / "models" / "base")
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    write_params(root / "params.yaml", recipe="tiny", overrides=OVERRIDES)
    process = subprocess.Popen(
        [sys.executable, "-m", "agentic_vlm.serve", "--port", "0", "--root", str(root)],
        cwd=root,
        env={**os.environ, "AGENTIC_SERVE_KEY": KEY, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    found = ADDRESS.search(process.stdout.readline())
    with pytest.MonkeyPatch.context() as patch:
        assert found is not None, "the server did not start"
        patch.setenv("AGENTIC_JUDGE_URL", found[1])
        patch.setenv("AGENTIC_JUDGE_KEY", KEY)
        patch.delenv("AGENTIC_JUDGE_CACHE", raising=False)
        yield root
    process.kill()
    process.wait()
    process.stdout.close()


def grade(
    root: Path, sample: CuratedSample, answers: list[str], *, kind: str, max_calls: int = 99
) -> tuple[list[str], JudgeCounts]:
    options = JudgeOptions(num_retries=0, timeout_s=900.0, max_calls=max_calls)
    params = GradingParams(judge=kind, judge_model="agent", judge_options=options)

    async def run() -> tuple[list[str], JudgeCounts]:
        async with open_judge(params, root=root) as judge:
            found = []
            for answer in answers:
                try:
                    work = grade_with_judge(
                        answer, sample, question=sample.question, judge=judge, params=params
                    )
                    found.append((await work).verdict.value)
                except JudgeBudgetSpent:
                    found.append("spent")
                except JudgeUnavailable:
                    found.append("unavailable")
            return found, judge.counts  # type: ignore[attr-defined]  # a ModelJudge

    return asyncio.run(run())


def agree(root: Path, *arguments: str) -> dict[str, object]:
    """Run the command that measures a judge, as a user does."""
    result = subprocess.run(
        [sys.executable, "-m", "agentic_vlm.grading.labelled", "--model", "agent", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert KEY not in result.stdout + result.stderr
    assert "judge agent" in result.stdout
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_the_pocket_model_judges_and_is_never_believed_without_the_form(served, make_sample):
    """Judges of 1.8 million parameters ramble: what keeps to no form is no verdict."""
    sample = make_sample(answer="red")
    answers = ["crimson", "scarlet", "crimson"]
    verdicts, counts = grade(served, sample, answers, kind="openai")
    assert (counts.num_calls, counts.num_cached) == (2, 1)
    decided = counts.num_correct + counts.num_incorrect
    assert decided + counts.num_undecided + counts.num_unparsed == 2
    assert counts.num_reply_tokens > 0
    kept = {row.answer: row for row in VerdictCache(served / ".scratch" / "judge")._known.values()}
    for answer, verdict in zip(answers, verdicts, strict=True):
        row = kept[answer]
        # What the model said is kept, and read again it gives the same verdict.
        assert (parse_reply(row.reply, is_cut=False) or Verdict.UNGRADED) == verdict
    assert grade(served, sample, answers, kind="replay")[0] == verdicts
    spent, counts = grade(served, sample, [*answers, "maroon", "ruby"], kind="openai", max_calls=1)
    assert spent == [*verdicts, spent[3], "spent"]
    assert (counts.num_calls, counts.num_not_asked) == (1, 1)
    assert grade(served, sample, ["sanguine"], kind="replay")[0] == ["unavailable"]

    printed = agree(served, "--judge", "openai", "--max-calls", "2")
    assert int(str(printed["num_rows"])) >= 200
    told = printed["counts"]
    assert isinstance(told, dict)
    assert (told["num_calls"], told["num_unavailable"]) == (2, 0)
    assert told["num_not_asked"] + told["num_cached"] + 2 == printed["num_rows"]
