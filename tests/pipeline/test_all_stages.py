"""All stages in order on twelve samples, with the real sandbox, search engine and trainer."""

import hashlib
import importlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agentic_vlm.errors import AgenticError
from agentic_vlm.schema import CuratedSample
from agentic_vlm.stage import Stage, StageReport
from agentic_vlm.store import read_records, write_records
from flows.params import write_params
from stages import STAGES

MODELS = ("base", "sft", "rl")
RUNS = [
    (name, model)
    for name in STAGES
    if name != "build_base"
    for model in (MODELS if name == "evaluate" else ("",))
]
"""Stages with the members of their matrix; the base model is given."""

RunStage = Callable[..., StageReport]


class Run(NamedTuple):
    """One full run."""

    root: Path
    reports: dict[tuple[str, str], StageReport]


def fill_rl_pool(root: Path) -> None:
    """Let half of the cold-start pool play the part of what tools solve.

    An untrained model solves nothing, so `allocate` leaves the RL pool empty.
    """
    pools = root / "data" / "pools"
    samples = [
        sample
        for pool in ("sft", "rl")
        for sample in read_records(pools / pool / "records", CuratedSample)
    ]
    samples.sort(key=lambda sample: sample.sample_id)
    for pool, rows in (("rl", samples[::2]), ("sft", samples[1::2])):
        write_records(
            pools / pool / "records", rows, CuratedSample, key=lambda row: (row.sample_id,)
        )


def run_all(root: Path, run_stage: RunStage) -> Run:
    reports = {}
    for name, model in RUNS:
        reports[name, model] = run_stage(name, root, variant=model)
        if name == "allocate":
            fill_rl_pool(root)
    return Run(root, reports)


@pytest.fixture(scope="module")
def finished(make_tiny_project, run_stage, tmp_path_factory) -> Run:
    """Give a project in which every stage has run."""
    return run_all(make_tiny_project(tmp_path_factory.mktemp("project")), run_stage)


def declaration(name: str) -> Stage:
    return importlib.import_module(f"stages.{name}").STAGE


def digests(root: Path, folders: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of every file that must not depend on clock or chance."""
    return {path.relative_to(root).as_posix(): _digest(path) for path in _files(root, folders)}


def outputs_of(name: str) -> list[str]:
    """Return what all runs of a stage write."""
    stage = declaration(name)
    members = MODELS if stage.matrix else ("",)
    return [path for member in members for path in stage.outputs(member)]


def _files(root: Path, folders: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        place = root / folder
        yield from sorted(place.rglob("*.parquet")) if place.is_dir() else [place]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", [name for name in STAGES if name != "build_base"])
def test_every_declared_output_is_there(finished, name):
    missing = [path for path in outputs_of(name) if not (finished.root / path).exists()]
    assert missing == []


@pytest.mark.parametrize("run", RUNS, ids="-".join)
def test_every_stage_writes_its_figures(finished, run):
    name, model = run
    path = finished.root / declaration(name).metrics_path(model)
    figures = json.loads(path.read_text())
    assert figures["num_in"] == finished.reports[run].num_in


@pytest.mark.parametrize("name", ["ingest", "curate", "allocate", "synthesize", "select_sft"])
def test_rows_in_are_rows_out_and_rejections(finished, name):
    report = finished.reports[name, ""]
    assert report.num_in > 0
    assert report.num_in == report.num_out + sum(report.left_out.values())


def test_every_model_answers_every_question_of_the_suite(finished):
    base, sft, rl = (finished.reports["evaluate", model].num_in for model in MODELS)
    assert sft == rl > 0
    assert base == 2 * sft


def test_the_summary_scores_every_model(finished):
    summary = json.loads((finished.root / "metrics" / "summary.json").read_text())
    assert set(MODELS) <= set(summary["models"])
    accuracy = summary["models"]["rl"]["all"]["accuracy"]
    assert {"mean", "low", "high", "n"} <= set(accuracy)


def test_the_report_holds_a_data_card_with_pictures_and_the_figure_of_difficulty(finished):
    folder = finished.root / "data" / "reports"
    card = (folder / "data_card.md").read_text()
    paths = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card)
    assert "figures/probe_passes.png" in paths
    assert len(paths) > 1
    assert all((folder / path).is_file() for path in paths)
    num_raw = finished.reports["ingest", ""].summary["num_train"]
    assert f'ingest["raw samples: {num_raw}"]' in card


def test_nothing_but_outputs_is_left_behind(finished):
    left = [path.name for path in (finished.root / ".scratch").glob("*/*")]
    assert left == []
    odd = [path for path in finished.root.rglob("*.tmp-*")]
    assert odd == []


def test_a_second_run_of_every_stage_gives_the_same_bytes(finished, run_stage):
    writes = tuple(
        path
        for name in STAGES
        if name not in ("build_base", "index", "report")
        for path in outputs_of(name)
    )
    before = digests(finished.root, writes)
    assert len(before) > 15
    run_all(finished.root, run_stage)
    after = digests(finished.root, writes)
    assert [name for name in before if before[name] != after.get(name)] == []
    assert set(before) == set(after)


def test_rollouts_may_come_from_a_server_whose_mismatch_stands_in_the_curve(
    finished, run_stage, tmp_path, monkeypatch
):
    from agentic_vlm.backends.fake_vllm import FakeVLLM
    from agentic_vlm.backends.local import load_model, load_processor
    from agentic_vlm.training.rollouts import LoopThread

    root = tmp_path / "project"
    shutil.copytree(finished.root, root)
    write_params(root / "params.yaml", recipe="tiny", overrides=["model.policy=vllm"])
    plain = (root / "plots" / "train_rl.csv").read_text().splitlines()[0]
    loop = LoopThread()
    # What the server holds does not matter: it gets the weights of each step.
    base = root / "models" / "base"
    fake = FakeVLLM(load_model(base), load_processor(base))
    monkeypatch.setenv("AGENTIC_ROLLOUT_URLS", loop.run(fake.start()))
    try:
        report = run_stage("train_rl", root)
    finally:
        loop.run(fake.stop())
        loop.close()
    header, first = (root / "plots" / "train_rl.csv").read_text().splitlines()
    assert header.startswith(f"{plain},mismatch,mismatch_action,mismatch_cut,mismatch_turn_1")
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert 0 <= float(row["mismatch"]) < 1e-4
    assert report.summary["sampler"]["mismatch"] == pytest.approx(float(row["mismatch"]), rel=1e-3)
    assert fake.num_requests >= 4
    assert not list((root / ".scratch").glob("*/*"))


def test_an_unknown_key_of_params_is_named_and_nothing_is_lost(finished, run_stage, tmp_path):
    params = finished.root / "params.yaml"
    good = params.read_text()
    before = digests(finished.root, ("data/curated",))
    params.write_text(good.replace("ngram:", "ngramm:"))
    try:
        with pytest.raises(AgenticError) as caught:
            run_stage("curate", finished.root)
    finally:
        params.write_text(good)
    assert "did you mean 'ngram'?" in str(caught.value)
    assert digests(finished.root, ("data/curated",)) == before


def test_a_missing_checkpoint_is_named_and_nothing_is_lost(finished, run_stage):
    model = finished.root / "models" / "sft"
    away = model.with_name("away")
    before = digests(finished.root, ("data/rollouts", "data/scores/sft"))
    model.rename(away)
    try:
        for name, variant in (("train_rl", ""), ("evaluate", "sft")):
            with pytest.raises(AgenticError) as caught:
                run_stage(name, finished.root, variant=variant)
            first, second = str(caught.value).splitlines()
            assert first.startswith("models/sft: ")
            assert second.startswith("  fix: ")
    finally:
        away.rename(model)
    assert digests(finished.root, ("data/rollouts", "data/scores/sft")) == before
