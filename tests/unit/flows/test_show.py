"""What the user interface is given: curves, samples and trajectories, with pictures inside."""

import base64
import io
import json
import re

import pytest
from PIL import Image

from agentic_vlm.schema import CuratedSample, RawSample, Trajectory, Verdict
from agentic_vlm.store import ImageWriter, write_records
from flows.dag import Node
from flows.pictures import draw_curves, figures_of
from flows.samples import render_samples
from flows.show import key_of, metric_rows, render_summary, shorten


def test_curves_become_a_picture_and_gaps_are_left_out(tmp_path):
    (tmp_path / "loss.csv").write_text("step,loss,score\n1,3.5,\n2,2.5,0.5\n3,,0.75\n")
    ((name, url),) = figures_of(["loss.csv", "data/none"], tmp_path)
    assert name == "loss curves"
    head, content = url.split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).width > 300


def test_pictures_are_figures_in_a_folder_of_that_name_only(tmp_path, make_image):
    for place in ("figures/scores.png", "data_card/1af55e2504a8.png"):
        path = tmp_path / "data" / "reports" / place
        path.parent.mkdir(parents=True)
        make_image().save(path)
    assert [name for name, _ in figures_of(["data/reports"], tmp_path)] == ["scores"]


def test_a_long_metrics_file_is_cut_and_the_table_says_so(tmp_path):
    short, long = {"a": {"b": 1.5}, "c": 1}, {f"x{number:03}": number for number in range(130)}
    for name, content in (("short.json", short), ("long.json", long)):
        (tmp_path / name).write_text(json.dumps(content))
    node = Node("report", (), ("short.json", "long.json"), "", (), 0, "", ())
    rows = metric_rows(node, tmp_path)
    assert rows[:2] == [{"figure": "c", "value": "1"}, {"figure": "a.b", "value": "1.5"}]
    assert rows[-1] == {"figure": "10 more", "value": "in long.json"}
    assert len(rows) == 123


@pytest.mark.parametrize("text", ["", "step,loss\n", "step,loss\n1,2\n", "step\n1\n2\n"])
def test_a_table_without_a_curve_has_no_picture(tmp_path, text):
    (tmp_path / "loss.csv").write_text(text)
    assert draw_curves(tmp_path / "loss.csv") is None


def test_keys_of_artifacts_have_only_the_signs_that_prefect_takes():
    assert key_of("evaluate@base") == "evaluate-base"
    assert key_of("Plots/Loss_1.PNG") == "plots-loss-1-png"


def test_a_line_of_the_log_is_cut_where_a_trainer_prints_every_figure_at_once():
    assert shorten("loss 0.5") == "loss 0.5"
    assert shorten("x" * 310) == "x" * 300 + " ... and 10 more characters"


@pytest.fixture(params=[Verdict.CORRECT, None], ids=["graded", "ungraded"])
def sampled(request, tmp_path, make_sample, make_image, make_trajectory):
    """Give a project with one sample, its picture and a trajectory about it."""
    with ImageWriter(tmp_path / "data" / "raw" / "images") as writer:
        ref = writer.add(make_image("red", (640, 320)))
    sample = make_sample(question="<b>which</b> `colour`?", images=(ref,))
    raw = RawSample.model_validate(sample.model_dump())
    trajectory = make_trajectory(sample_id=sample.sample_id, images=(ref,), verdict=request.param)
    for place, row, kind in (
        ("raw", raw, RawSample),
        ("curated", sample, CuratedSample),
        ("trajectories", trajectory, Trajectory),
    ):
        folder = tmp_path / "data" / place / "records"
        write_records(folder, [row], kind, key=lambda one: (one.sample_id,))
    return tmp_path


def test_samples_show_question_picture_and_answer(sampled):
    text = render_samples(["data/curated"], sampled)
    assert "&lt;b&gt;which&lt;/b&gt; \\`colour\\`?" in text
    assert "answer: `red`" in text
    content = text.split("data:image/png;base64,")[1].split(")")[0]
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (320, 160)


def test_trajectories_show_every_turn_and_nothing_in_them_can_leave_its_block(sampled):
    text = render_samples(["data/trajectories"], sampled)
    assert "    <code>1 + 1</code>" in text
    assert re.search("### perception, (correct|ungraded): ", text)
    assert "observation\n\n    2" in text
    assert "answer: 2 | reference: red | ended: answer" in text


def test_right_and_wrong_trajectories_are_shown_and_long_lines_stay_on_the_page(
    tmp_path, make_sample, make_trajectory
):
    families = ("perception", "reasoning", "search", "integration", "text", "search")
    samples = [
        make_sample(question=f"{number}?", family=family) for number, family in enumerate(families)
    ]
    rows = [
        make_trajectory(
            trajectory_id=f"t{number}",
            sample_id=sample.sample_id,
            verdict=Verdict.INCORRECT if number == 5 else Verdict.CORRECT,
            prompt="x",
        )
        for number, sample in enumerate(samples)
    ]
    long = rows[0].turns[0].model_copy(update={"text": "<code>" + "9" * 300 + "</code>"})
    rows = [row.model_copy(update={"turns": (long, row.turns[1])}) for row in rows]
    raw = [RawSample.model_validate(one.model_dump()) for one in samples]
    write_records(tmp_path / "data/raw/records", raw, RawSample, key=lambda one: (one.sample_id,))
    write_records(
        tmp_path / "data/trajectories/records",
        rows,
        Trajectory,
        key=lambda one: (one.trajectory_id,),
    )
    text = render_samples(["data/trajectories"], tmp_path)
    assert re.findall("### [a-z]+, ([a-z]+)", text) == [*["correct"] * 3, "incorrect"]
    assert max(map(len, text.splitlines())) < 100


def test_stages_without_samples_show_none(sampled):
    assert render_samples(["data/pools", "models/sft", "plots/none.csv"], sampled) == ""


def test_the_summary_links_to_the_pages_of_each_stage_and_names_files_without_linking(tmp_path):
    (tmp_path / "data" / "reports").mkdir(parents=True)
    (tmp_path / "data" / "reports" / "report.md").write_text("# Report")
    (tmp_path / "metrics").mkdir()
    timings = {"curate": {"wall_s": 1.5}}
    (tmp_path / "metrics" / "timings.json").write_text(json.dumps(timings))
    share = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8, "num_ungraded": 1}
    share |= {"num_infrastructure": 1, "lowest": None, "highest": None}
    entry = {"accuracy": share} | dict.fromkeys(("tool_rate", "calls", "failed_calls", "tokens"))
    scores = {"all": entry, "by_family": {}, "by_suite": {}}
    summary = {"models": {"sft": scores}, "paired": {}}
    (tmp_path / "metrics" / "summary.json").write_text(json.dumps(summary))
    nodes = [
        Node(name, (), (), f"does {name}", (), 0, "", ()) for name in ("curate", "evaluate@base")
    ]
    pages = {
        "metrics-curate",
        "samples-evaluate-base",
        "figure-curate-loss-curves",
        "metrics-other",
    }
    endings = {"curate": "Completed", "evaluate@base": "Cached"}
    text = render_summary(nodes, endings, tmp_path, pages=pages)
    assert "| SFT (1 without a verdict) | - | - | 50.0 (25.0-75.0) |" in text
    links = "[metrics](../key/metrics-curate) [loss-curves](../key/figure-curate-loss-curves)"
    assert f"| curate | Completed | 1.5 | {links} | does curate |" in text
    links = "[samples](../key/samples-evaluate-base)"
    assert f"| evaluate@base | Cached | unknown | {links} | does evaluate@base |" in text
    assert f"- `{tmp_path}/data/reports/report.md`: tables and figures" in text
    assert "examples.html" not in text
