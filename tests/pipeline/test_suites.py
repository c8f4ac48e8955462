"""Published files of benchmarks through the chain: ingest, evaluate, report."""

import asyncio
import base64
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.evaluation.run import grade_trajectories
from agentic_vlm.grading import Mode, NoJudge
from agentic_vlm.params import GradingParams, load_params, read_yaml
from agentic_vlm.schema import RawSample, ScoredAnswer, Trajectory
from agentic_vlm.search import build
from agentic_vlm.store import read_records

ROOT = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("AGENTIC_VLM_SAMPLES", ROOT.parent / "shared" / "samples"))
REAL = {
    "mathvision": "math_vision/test.jsonl",
    "gsm8k": "gsm8k/test.jsonl",
    "infoseek": "fvqa/mini_data.parquet",
    "xquad": "xquad/xquad.en.json",
}
LIMIT = 2


def write_published(folder: Path) -> dict[str, str]:
    """Write three benchmarks in their published forms; return their files by suite."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(stream, format="JPEG")
    picture = base64.b64encode(stream.getvalue()).decode()
    chart = "index\timage\tquestion\tanswer\tsplit\n"
    chart += f"0\t{picture}\tHow many?\t10\ttest_human\n1\t0\tWho?\tNA\ttest_augmented\n"
    (folder / "ChartQA_TEST.tsv").write_text(chart)
    sums = [{"question": f"1 + {n}?", "answer": f"So.\n#### {n + 1}"} for n in range(3)]
    (folder / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    asked = [{"id": "a", "question": "Who was there?", "answers": [{"text": "Ann"}]}]
    paragraphs = [{"context": "Ann was there, the quiet harbourmaster.", "qas": asked}]
    squad = {"data": [{"title": "Harbour", "paragraphs": paragraphs}]}
    (folder / "xquad.json").write_text(json.dumps(squad))
    return {"chartqa": "ChartQA_TEST.tsv", "gsm8k": "gsm8k.jsonl", "xquad": "xquad.json"}


def run_suites(root: Path, files: dict[str, str], make_tiny_project, run_stage) -> Path:
    """Take the suites in, answer them with the base model, and report."""
    world = json.dumps(read_yaml(ROOT / "flows" / "recipes" / "tiny.yaml")["ingest"]["sources"][0])
    sources = [
        f"{{type: suite, name: {suite}, suite: {suite}, path: external/{path}, limit: {LIMIT}}}"
        for suite, path in files.items()
    ]
    make_tiny_project(
        root,
        f"ingest.sources=[{world}, {', '.join(sources)}]",
        f"evaluate.suites=[{', '.join(files)}]",
        "evaluate.modes.base=[direct, think, agent]",
    )
    run_stage("ingest", root)
    run_stage("evaluate", root, variant="base")
    run_stage("report", root)
    return root


def scores_of(root: Path) -> list[ScoredAnswer]:
    return read_records(root / "data" / "scores" / "base" / "scores", ScoredAnswer)


def check_all(root: Path, files: dict[str, str], sizes: dict[str, int]) -> None:
    scores = scores_of(root)
    counts = {suite: sum(row.suite == suite for row in scores) for suite in files}
    assert counts == {suite: 3 * sizes[suite] for suite in files}
    # Whose rule marked an answer stands in the score.
    known = {"official", "none", "infrastructure", "integer", "judge"}
    assert {score.rule.partition(":")[0] for score in scores} <= known
    report = (root / "data" / "reports" / "report.md").read_text()
    assert "### Benchmarks" in report
    for told in ("base, no tools", "base, thinking, no tools", "base, tools"):
        assert told in report
    summary = json.loads((root / "metrics" / "summary.json").read_text())
    assert set(summary["models"]) == {"base", "base_direct", "base_think"}
    assert "n 0" not in report.partition("### Benchmarks")[2].partition("## Use of tools")[0]
    again = regrade(root, files)
    assert again == {(score.mode, score.sample_id): score.verdict for score in scores}, (
        "graded again, without a model, scores are the same"
    )


def regrade(root: Path, files: dict[str, str]) -> dict[tuple[str, str], str]:
    rows = read_records(root / "data" / "scores" / "base" / "trajectories", Trajectory)
    samples = {
        sample.sample_id: sample
        for suite in files
        for sample in read_records(root / "data" / "suites" / suite / "records", RawSample)
    }
    graded = asyncio.run(
        grade_trajectories(
            rows, samples, judge=NoJudge(), params=GradingParams(), mode=Mode.OFFICIAL
        )
    )
    return {(row.mode, row.sample_id): grade.verdict for row, grade in graded}


def finds(root: Path, query: str, words: str) -> bool:
    engine = build(load_params(root / "params.yaml").search, corpus=root / "data" / "corpus")

    async def ask() -> bool:
        hits = await engine.search_text(query, num_hits=3)
        await engine.close()
        return any(words in hit.snippet for hit in hits)

    return asyncio.run(ask())


@pytest.mark.slow
def test_published_files_are_asked_graded_by_their_rule_and_reported(
    make_tiny_project, run_stage, tmp_path
):
    (tmp_path / "root" / "external").mkdir(parents=True)
    files = write_published(tmp_path / "root" / "external")
    root = run_suites(tmp_path / "root", files, make_tiny_project, run_stage)
    check_all(root, files, {"chartqa": 2, "gsm8k": 2, "xquad": 1})
    report = (root / "data" / "reports" / "report.md").read_text()
    assert "Rules: official" in report
    assert "partial, 2 of 2500" in report
    assert "DeepEyesV2 (paper)" in report
    assert finds(root, "quiet harbourmaster", "Ann was there")


@pytest.mark.slow
def test_real_samples_go_from_file_to_report_with_the_pocket_model(
    make_tiny_project, run_stage, tmp_path
):
    missing = [path for path in REAL.values() if not (SAMPLES / path).exists()]
    if missing:
        pytest.skip(f"no {SAMPLES / missing[0]}; AGENTIC_VLM_SAMPLES names the folder of samples")
    root = tmp_path / "root"
    root.mkdir()
    (root / "external").symlink_to(SAMPLES)

    def make_pocket_project(folder: Path, *overrides: str) -> None:
        make_tiny_project(folder, *overrides)
        shutil.rmtree(folder / "models" / "base")
        shutil.copytree(ROOT / "models" / "base", folder / "models" / "base")

    run_suites(root, REAL, make_pocket_project, run_stage)
    check_all(root, REAL, dict.fromkeys(REAL, LIMIT))
    report = (root / "data" / "reports" / "report.md").read_text()
    for told in ("MathVision test", "partial, 2 of 3040", "GSM8K test", "InfoSeek", "XQuAD"):
        assert told in report
    question = read_records(root / "data" / "suites" / "xquad" / "records", RawSample)[0]
    assert finds(root, question.question, question.answer)
