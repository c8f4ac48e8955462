"""The runner of a stage."""

import json
import sys
from types import SimpleNamespace

import pytest

from agentic_vlm.errors import ArtifactMissing, BooksError
from agentic_vlm.stage import Stage, StageReport, check_books

STAGE = Stage(name="curate", doc="Keep every other row.", reads=("data/raw",), writes=("data/out",))


def run(context):
    rows = list(context.limited((context.read_from("data/raw") / "rows").read_text().split()))
    with context.timed("keep"):
        kept = rows[::2]
    target = context.write_to("data/out")
    target.mkdir(parents=True)
    (target / "rows").write_text(" ".join(kept))
    left_out = {"odd": len(rows) - len(kept)}
    return StageReport(num_in=len(rows), num_out=len(kept), left_out=left_out)


@pytest.fixture
def root(project):
    (project / "data/raw").mkdir(parents=True)
    (project / "data/raw/rows").write_text("a b c")
    return project


def call(root, *arguments, function=run):
    with pytest.raises(SystemExit) as ended:
        STAGE.main(function, ["--root", str(root), *arguments])
    return ended.value.code


def test_a_stage_writes_outputs_summary_and_seconds(root):
    STAGE.execute(run, root=root)
    summary = json.loads((root / "metrics/curate.json").read_text())
    timings = json.loads((root / "metrics/timings.json").read_text())
    assert (root / "data/out/rows").read_text() == "a c"
    assert summary == {"left_out": {"odd": 1}, "num_in": 3, "num_out": 2}
    assert set(timings["curate"]["steps"]) == {"keep"}


def test_gpu_seconds_are_those_of_the_devices_that_a_process_holds(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    STAGE.execute(run, root=root)
    timings = json.loads((root / "metrics/timings.json").read_text())["curate"]
    assert timings["gpu_s"] == 0
    # A process with two GPUs, as the library would tell.
    cuda = SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    other = Stage(name="report", doc="Nothing.", keeps_books=False)
    other.execute(lambda context: StageReport(num_in=0, num_out=0), root=root)
    timings = json.loads((root / "metrics/timings.json").read_text())["report"]
    assert timings["gpu_s"] == pytest.approx(2 * timings["wall_s"], abs=0.002)


def test_the_summary_holds_no_clock(root):
    STAGE.execute(run, root=root)
    first = (root / "metrics/curate.json").read_bytes()
    (root / "data/out/rows").unlink()
    (root / "data/out").rmdir()
    STAGE.execute(run, root=root)
    assert (root / "metrics/curate.json").read_bytes() == first


def test_seconds_of_other_stages_are_kept(root):
    STAGE.execute(run, root=root)
    other = Stage(name="report", doc="Nothing.", keeps_books=False)
    other.execute(lambda context: StageReport(num_in=0, num_out=0), root=root)
    assert set(json.loads((root / "metrics/timings.json").read_text())) == {"curate", "report"}


def test_a_dry_run_writes_nothing_tracked(root, capsys):
    assert call(root, "--limit", "2") == 0
    assert "curate: 2 in -> 1 out; 1 odd (dry run: nothing written)" in capsys.readouterr().out
    assert {path.name for path in root.iterdir()} <= {"data", "params.yaml", "logs"}
    assert not (root / "data/out").exists()


def test_a_limit_of_zero_means_no_rows(root, capsys):
    assert call(root, "--limit", "0") == 0
    assert "curate: 0 in -> 0 out" in capsys.readouterr().out


def test_lost_rows_are_an_error_with_both_numbers():
    with pytest.raises(BooksError) as caught:
        check_books("curate", StageReport(num_in=3, num_out=1, left_out={"odd": 1}))
    assert str(caught.value) == (
        "curate: 3 rows in, but 1 out and 1 left out\n"
        "  fix: every row must be written or rejected with a reason; this is a fault of the stage"
    )


def test_a_missing_input_is_two_lines_and_exit_status_1(root, capsys):
    (root / "data/raw/rows").unlink()
    (root / "data/raw").rmdir()
    assert call(root) == 1
    assert capsys.readouterr().err == (
        "data/raw: curate reads this, and it is missing\n"
        "  fix: run the stage that writes data/raw; `python -m stages` says which one\n"
    )


def test_an_unforeseen_error_is_two_lines_and_its_traceback_is_in_the_log(root, capsys):
    def broken(context):
        raise KeyError("colour")

    assert call(root, function=broken) == 1
    message = [line for line in capsys.readouterr().err.splitlines() if "ERROR" not in line]
    assert "curate: KeyError: 'colour'" in message
    assert "Traceback" in (root / "logs/curate.log").read_text()


def test_debug_shows_the_traceback(root):
    (root / "params.yaml").unlink()
    with pytest.raises(Exception, match="no such file"):
        STAGE.main(run, ["--root", str(root), "--debug"])


def test_the_scratch_folder_follows_inputs_and_goes_after_success(root):
    seen = []

    def failing(context):
        seen.append(context.scratch)
        raise ArtifactMissing("x", "y", "z")

    for content in ("a b c", "a b c", "changed"):
        (root / "data/raw/rows").write_text(content)
        assert call(root, function=failing) == 1
    assert seen[0] == seen[1] != seen[2]
    assert seen[0].exists()
    STAGE.execute(run, root=root)
    assert not seen[0].exists()


def test_a_member_of_a_matrix_has_its_own_summary(root):
    stage = Stage(name="evaluate", doc="Score.", matrix="model", keeps_books=False)
    arguments = ["--root", str(root), "--model", "base"]
    with pytest.raises(SystemExit):
        stage.main(lambda context: StageReport(num_in=1, num_out=1), arguments)
    assert (root / "metrics/evaluate/base.json").exists()
    assert "evaluate-base" in json.loads((root / "metrics/timings.json").read_text())


def test_scratch_of_a_member_depends_on_what_that_member_reads_alone(root):
    stage = Stage(name="evaluate", doc="Score.", reads=("models/{model}",), matrix="model")
    for member in ("base", "sft"):
        (root / "models" / member).mkdir(parents=True)
        (root / "models" / member / "weights").write_text("old")
    seen = []

    def failing(context):
        seen.append(context.scratch)
        raise ArtifactMissing("x", "y", "z")

    for changed in ("", "sft", "base"):
        if changed:
            (root / "models" / changed / "weights").write_text("new weights")
        with pytest.raises(ArtifactMissing):
            stage.execute(failing, root=root, variant="base")
    assert seen[0] == seen[1] != seen[2]


def test_inputs_and_outputs_name_the_member():
    stage = Stage(
        name="evaluate",
        doc="Score.",
        reads=("models/{model}", "data/suites"),
        writes=("data/scores/{model}",),
        matrix="model",
    )
    assert stage.inputs("rl") == ("models/rl", "data/suites")
    assert stage.outputs("rl") == ("data/scores/rl",)


def test_help_ends_with_an_example(capsys):
    with pytest.raises(SystemExit):
        STAGE.main(run, ["--help"])
    assert capsys.readouterr().out.endswith("Example: python -m stages.curate --limit 20\n")
