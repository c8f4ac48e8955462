"""The stages report and index, on a small run of everything."""

import base64
import json
import posixpath
import re
import shutil
import zlib

import duckdb
import pytest

from agentic_vlm.schema import Rejection, RejectReason, ScoredAnswer, Trajectory
from agentic_vlm.store import write_records
from stages import index, report


@pytest.fixture
def write_report():
    def write(root):
        report.STAGE.execute(report.run, root=root)
        folder = root / "data/reports"
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return {**files, "summary.json": (root / "metrics/summary.json").read_bytes()}

    return write


_FILES = {}


@pytest.fixture
def files(trained, write_report):
    """Give the files of one report; drawn once for all tests that only look."""
    if not _FILES:
        _FILES.update(write_report(trained))
    return _FILES


def test_two_runs_give_equal_bytes(trained, write_report, files):
    assert write_report(trained) == files
    assert {name.rpartition(".")[2] for name in files} == {
        "md", "html", "png", "svg", "json", "parquet", "sql"
    }  # fmt: skip


def test_every_link_of_the_report_leads_to_a_file(files):
    pages = [name for name in files if name.endswith(".md")]
    assert len(pages) == 5
    for page in pages:
        links = re.findall(r"\]\(([^)]+)\)", files[page].decode())
        assert len(links) >= (22 if page == "report.md" else 7)
        folder = posixpath.dirname(page)
        assert {posixpath.normpath(posixpath.join(folder, link)) for link in links} <= set(files)


def test_the_summary_has_the_form_that_readers_expect(files):
    summary = json.loads(files["summary.json"])
    assert set(summary["models"]) == {"base", "base_direct", "sft", "rl"}
    for kind in ("direct", "tool", "all"):
        entry = summary["models"]["rl"][kind]
        assert {"mean", "low", "high", "n"} <= set(entry["accuracy"])
        assert {"tool_rate", "calls", "failed_calls"} <= set(entry)
    assert summary["models"]["rl"]["all"]["accuracy"]["num_infrastructure"] == 1
    assert summary["paired"]["rl_minus_sft"]["tool"]["n"] == 24


def test_suites_that_are_benchmarks_have_their_table(files):
    text = files["report.md"].decode()
    assert "### Benchmarks" in text
    assert "| model | pocket world |" in text
    assert "partial, 50 of 840" in text


def test_every_model_has_a_page_with_its_figure(files):
    for name in ("base_direct", "base", "sft", "rl"):
        page = files[f"models/{name}.md"].decode()
        assert f"figures/model_{name}.png" in files
        assert f"../figures/model_{name}.png" in page
    rl = files["models/rl.md"].decode()
    assert rl.startswith("# RL\n")
    assert "| infrastructure | ungraded | 1 | 2.0 % |" in rl
    assert "RL minus SFT" in rl
    assert "SFT minus base" not in rl
    assert "pocket world:" in rl
    assert "only with tools" in files["models/base.md"].decode()
    assert "only with tools" not in rl


def test_the_page_of_a_model_shows_the_card_of_its_checkpoint(files):
    base = files["models/base_direct.md"].decode()
    assert "| checkpoint id | c-base |" in base
    assert "| parent |" not in base
    rl = files["models/rl.md"].decode()
    assert "| parent | c-sft |" in rl
    assert "| num parameters | 1764384 |" in rl
    assert "- &lt;script&gt;alert(1)&lt;/script&gt;" in rl
    assert "It has no card here" in files["models/sft.md"].decode()


def test_the_report_is_made_again_from_its_parquet_tables_alone(
    trained, write_report, files, tmp_path
):
    alone = tmp_path / "alone"
    kept = ("*.parquet", "card.json", "params.yaml", "sources.yaml")
    for path in [path for name in kept for path in trained.rglob(name)]:
        if "reports" not in path.parts:
            place = alone / path.relative_to(trained)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    assert write_report(alone) == files


def test_trajectories_of_all_models_can_be_looked_at_in_one_page(files):
    packed = re.search(r'id="index">([^<]+)<', files["trajectories.html"].decode())
    index = json.loads(zlib.decompress(base64.b64decode(packed[1])))
    assert index["models"] == ["base", "base_direct", "rl", "sft"]
    assert len(index["rows"]) == 12 * 4


def test_questions_with_a_twin_in_training_sources_stand_next_to_the_scores(
    trained, write_report, files
):
    assert "### Contamination" not in files["report.md"].decode()
    twin = Rejection(
        stage="curate", row_id="x", reason=RejectReason.CONTAMINATED,
        evidence="equals pocket/world:3",
    )  # fmt: skip
    folder = trained / "data/curated/rejections"
    write_records(folder, [twin], Rejection, key=lambda row: (row.row_id,))
    told = write_report(trained)["report.md"].decode().partition("### Contamination")[2]
    (row,) = [line for line in told.splitlines() if line.startswith("| pocket | RL |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == "1"
    assert int(cells[6]) == int(cells[4]) - 1


def test_what_each_stage_took_is_shown_without_a_clock(files):
    told = files["report.md"].decode().partition("### What it took")[2].partition("##")[0]
    assert "| evaluate-base | 100 |" in told
    assert "python -m agentic_vlm.analysis.ledger" in told


def test_what_a_model_wrote_stays_text(files):
    for name in ("report.md", "examples.html"):
        assert b"<script" not in files[name]
        assert b"\x1b" not in files[name]
    assert b"&lt;script&gt;" in files["examples.html"]


def test_examples_show_right_and_wrong_ones_with_all_their_pictures(files):
    page = files["examples.html"].decode()
    assert page.count("<article") == 12
    assert 'class="correct"' in page
    assert 'class="incorrect"' in page
    assert page.count("data:image/png;base64,") >= 12
    assert "not stored here" not in page


def test_stages_that_were_left_out_are_said_to_be_not_run(evaluated, write_report):
    text = write_report(evaluated)["report.md"].decode()
    assert "Reinforcement learning was not run." in text
    assert "| train_rl | rollouts | not run | - |" in text


def test_a_project_without_scores_still_gets_a_report(project, write_report):
    files = write_report(project)
    assert "evaluate: not run" in files["report.md"].decode()
    assert json.loads(files["summary.json"]) == {"models": {}, "paired": {}}


def test_a_picture_that_is_gone_is_named(trained, write_report):
    for folder in (trained / "data/scores").glob("*/images"):
        shutil.rmtree(folder)
    assert "not stored here" in write_report(trained)["examples.html"].decode()


def test_names_with_markup_reach_tables_and_figures_as_text(root, make_score, write_report):
    folder = root / "data/scores/base"
    write_records(folder / "scores", [make_score(family="a|$b")], ScoredAnswer, key=lambda _: ())
    episode = {"trajectory_id": "t0", "sample_id": "s00", "stage": "evaluate", "policy": "p"}
    more = {"mode": "agent", "protocol": "deepeyesv2", "attempt": 0, "seed": 0, "system": ""}
    lost = Trajectory(**episode, **more, prompt="", turns=(), stop_reason="infrastructure")
    write_records(folder / "trajectories", [lost], Trajectory, key=lambda _: ())
    assert "a&#124;$b" in write_report(root)["report.md"].decode()


def test_the_index_holds_the_same_rows_after_every_build(trained):
    built = []
    for _ in range(2):
        index.STAGE.execute(index.run, root=trained)
        path = str(trained / "data/trajectories.duckdb")
        with duckdb.connect(path, read_only=True) as connection:
            rows = connection.execute("select * from evaluations order by all").fetchall()
        built.append((rows, (trained / "metrics/index.json").read_bytes()))
    assert built[0] == built[1]
    assert len(built[0][0]) == 200
