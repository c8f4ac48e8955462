"""What stages, trajectories and findings cost, against the same sums in SQL."""

import csv
import io
import json

import pytest

from agentic_vlm.analysis.claims import CLAIMS
from agentic_vlm.analysis.costs_page import finding_costs, render_costs
from agentic_vlm.analysis.estimates import Estimate
from agentic_vlm.analysis.findings import Finding, Outcome, SeedResult
from agentic_vlm.analysis.ledger import Cost, main, read_costs
from agentic_vlm.analysis.work import count_work, work_table
from agentic_vlm.errors import RecordError
from agentic_vlm.schema import ScoredAnswer
from agentic_vlm.store import read_records, write_records
from agentic_vlm.store.query import run_live_query


@pytest.fixture
def judged(trained):
    """Let a judge decide on three answers of RL, and book its requests and a teacher's."""
    folder = trained / "data/scores/rl/scores"
    rows = read_records(folder, ScoredAnswer)
    rows = [
        row.model_copy(update={"rule": "judge"}) if n < 3 else row for n, row in enumerate(rows)
    ]
    write_records(folder, rows, ScoredAnswer, key=lambda row: (row.model_dump_json(),))
    (trained / "metrics/evaluate").mkdir(parents=True)
    counts = {"num_calls": 3, "num_prompt_tokens": 4000, "num_reply_tokens": 1000}
    (trained / "metrics/evaluate/rl.json").write_text(json.dumps({"judge": counts}))
    bill = {"num_requests": 7, "input_tokens": 5, "output_tokens": 6, "usd": 0.25}
    (trained / "metrics/synthesize.json").write_text(json.dumps({"usage": {"a": bill, "b": bill}}))
    runs = {
        "synthesize": {"run_id": "synthesize@1", "wall_s": 4.0, "cpu_s": 3.0, "gpu_s": 8.0,
                       "started_at": "2026-01-01T00:00:00+00:00", "steps": {}},
    }  # fmt: skip
    (trained / "metrics/timings.json").write_text(json.dumps(runs))
    params = trained / "params.yaml"
    text = params.read_text()
    for side, price in (("in", 10), ("out", 20)):
        assert f"price_per_million_{side}: 0.0" in text
        text = text.replace(f"price_per_million_{side}: 0.0", f"price_per_million_{side}: {price}")
    params.write_text(text)
    return trained


def test_work_of_every_stage_equals_what_sql_says(judged):
    rows = count_work(judged / "data")
    told = [(*[getattr(row, name) for name in type(row).__slots__],) for row in rows]
    assert sorted(told) == run_live_query("work_by_stage", root=judged).rows
    assert [row.run for row in rows] == ["train_rl", "evaluate-base", "evaluate-rl", "evaluate-sft"]
    assert [row.num_judged for row in rows] == [0, 0, 3, 0]


def test_the_table_of_work_shows_sums_and_means(judged):
    (line,) = [one for one in work_table(count_work(judged / "data")).splitlines() if "-sft" in one]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    sums, means = ["50", "100", "150", "50", "0", "0", "0"], ["2.00", "3.00", "1.00"]
    assert cells == ["evaluate-sft", *sums, *means]


def test_the_ledger_adds_seconds_work_judge_and_teachers(judged, capsys):
    costs = {cost.run: cost for cost in read_costs(judged)}
    assert (costs["evaluate-rl"].num_judge_calls, costs["evaluate-rl"].usd) == (3, 0.06)
    teacher = costs["synthesize"]
    assert (teacher.num_teacher_calls, teacher.teacher_usd, teacher.gpu_s) == (14, 0.5, 8.0)
    assert main(["--root", str(judged), "--csv"]) == 0
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert float(rows["all"]["usd"]) == 0.56
    assert int(rows["all"]["num_episodes"]) == 128 + 200
    assert float(rows["all"]["wall_s"]) == 4.0


def test_the_ledger_of_trajectories_has_a_row_each(judged, capsys):
    assert main(["--root", str(judged), "--trajectories", "evaluate", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 200
    assert sum(row["is_judged"] == "True" for row in rows) == 3


def test_a_damaged_summary_is_named(judged, capsys):
    (judged / "metrics/evaluate/rl.json").write_text("{")
    with pytest.raises(RecordError, match=r"metrics/evaluate/rl\.json: no JSON"):
        read_costs(judged)
    assert main(["--root", str(judged)]) == 1
    assert "fix: rerun the stage evaluate" in capsys.readouterr().err


def test_a_finding_costs_what_all_experiments_behind_it_cost():
    claim = next(claim for claim in CLAIMS if claim.key == "F4")
    estimate = Estimate(0.5, 0.4, 0.6, 60)
    seeds = tuple(
        SeedResult(seed, (f"seed-{seed}-grpo", f"seed-{seed}-rejection"), estimate, is_clear=True)
        for seed in (0, 1)
    )
    finding = Finding(claim, Outcome.CAME_OUT, estimate, seeds, 2)
    costs = {
        "seed-0-grpo": [Cost("probe", wall_s=10.0, num_tokens=80), Cost("train_rl", wall_s=5.0)],
        "seed-0-rejection": [Cost("train_rl", wall_s=3.0, search_usd=0.5, num_episodes=4)],
        "seed-1-grpo": [],
        "seed-0-efficiency": [Cost("train_rl", wall_s=100.0)],
    }
    (total,) = finding_costs(costs, [finding])
    assert (total.run, total.wall_s, total.num_tokens, total.usd) == ("F4", 18.0, 80, 0.5)
    page = render_costs(costs, [finding])
    (row,) = [line for line in page.splitlines() if line.startswith("| F4 ")]
    assert row.split("|")[2].strip() == "18.0"
    stages = page.partition("## By stage")[2].partition("## By finding")[0]
    assert stages.index("| train_rl |") < stages.index("| probe |")
    (all_of_it,) = [line for line in page.splitlines() if line.startswith("| all ")]
    assert all_of_it.split("|")[2].strip() == "118.0"
