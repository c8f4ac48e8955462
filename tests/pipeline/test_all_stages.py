"""All stages in order on twelve samples, with the real sandbox, search engine and trainer."""

import json
import re
import shutil

import pytest

from agentic_vlm.errors import AgenticError
from flows.params import write_params
from stages import STAGES

from .whole_run import MODELS, RUNS, Run, declaration, digests, outputs_of, run_all


@pytest.fixture(scope="module")
def finished(make_tiny_project, tmp_path_factory) -> Run:
    """Give a project in which every stage has run."""
    return run_all(make_tiny_project(tmp_path_factory.mktemp("project")))


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


def test_a_second_run_of_every_stage_gives_the_same_bytes(finished):
    writes = tuple(
        path
        for name in STAGES
        if name not in ("build_base", "index", "report")
        for path in outputs_of(name)
    )
    before = digests(finished.root, writes)
    assert len(before) > 15
    run_all(finished.root)
    after = digests(finished.root, writes)
    assert [name for name in before if before[name] != after.get(name)] == []
    assert set(before) == set(after)


def test_rollouts_may_come_from_a_server_whose_mismatch_stands_in_the_curve(
    finished, run_stage, tmp_path, monkeypatch
):
    from agentic_vlm.backends.fake_vllm import FakeVLLM
    from agentic_vlm.backends.local import load_model, load_processor
    from agentic_vlm.training.loop_thread import LoopThread

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
