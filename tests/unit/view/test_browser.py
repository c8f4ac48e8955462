"""The page in a real browser: filter, search, order, open, step, compare, pass on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.schema import FinalAnswer, Observation, RawSample, ToolCall, Trajectory, Turn
from agentic_vlm.slices import Entry
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.view.page import write_page

ROOT = Path(__file__).parents[3]
HOSTILE = "</script><script>document.title = 'taken'</script><img src=http://127.0.0.1:9/x>"
NUM_SAMPLES = 120


@pytest.fixture
def page(tmp_path: Path, make_image, make_trajectory, make_rollout) -> Path:
    """Give a page with 120 samples, each answered by two models; SFT is wrong on a third."""
    with ImageWriter(tmp_path / "images") as writer:
        question = writer.add(make_image("green", (200, 1000)))
        crop = writer.add(make_image("blue", (16, 16)))
    code = "image_1.crop((0, 0, 16, 16))"

    def entry(model: str, number: int) -> Entry:
        sample_id = f"s{number:03d}"
        call = Turn(
            text=f"<think>{HOSTILE}</think><code>{code}</code>", num_tokens=number % 17 + 1,
            action=ToolCall(tool="python", code=code),
            observation=Observation(text=f"<image>{HOSTILE}", images=(crop,)),
        )  # fmt: skip
        is_wrong = model == "sft" and number % 3 == 0
        episode: Trajectory = make_trajectory(
            trajectory_id=f"{model}{number:03d}", sample_id=sample_id, stage="evaluate",
            prompt="<image>which?", images=(question,), answer="K47",
            turns=(call, Turn(text="K47", action=FinalAnswer(text="K47"), num_tokens=3)),
            verdict="incorrect" if is_wrong else "correct",
        )  # fmt: skip
        thing = "plate" if number % 2 else "sign"
        sample = RawSample(
            sample_id=sample_id, source="test", source_row_id=str(number), split="test",
            family="perception", question=f"What is on {thing} {number}?", answer="K47",
            images=(question,),
        )  # fmt: skip
        rollout = make_rollout(
            trajectory=episode, completion_ids=(1, 7, 7, 7, 2),
            loss_mask=(True, False, False, False, True), sampler_logprobs=(-0.5, 0, 0, 0, -2),
        )  # fmt: skip
        return Entry(model, episode, sample, rollout)

    entries = (entry(model, n) for n in range(NUM_SAMPLES) for model in ("sft", "rl"))
    path = tmp_path / "page.html"
    pictures = ImageStore.open(tmp_path / "images")
    write_page(path, entries, pictures, title="tour", spell=lambda ids: [f"<{n}>" for n in ids])
    return path


def tour(page: Path, out: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path} if path is not None else None
    command = [sys.executable, "benchmarks/view_tour.py", str(page), "--out", str(out)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_without_a_browser_the_tour_says_what_to_install(tmp_path):
    done = tour(tmp_path / "page.html", tmp_path / "shots", path="/nowhere")
    assert done.returncode == 1
    assert done.stderr == "no Chromium in PATH\n  fix: apt-get install chromium\n"


@pytest.mark.slow
def test_a_person_can_filter_open_step_and_compare(page, tmp_path):
    done = tour(page, tmp_path / "shots")
    if "no Chromium in PATH" in done.stderr:
        pytest.skip("no Chromium in PATH: apt-get install chromium")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["all"], seen["filtered"], seen["searched"]) == (240, 40, 20)
    assert set(seen["verdicts"]) == {"incorrect"}
    tokens = [int(number) for number in seen["tokens"]]
    assert tokens == sorted(tokens)
    assert len(tokens) == 20
    # The question's picture with the crop drawn on it, and the crop.
    assert (seen["pictures"], seen["boxes"]) == (2, 1)
    # A tall picture is made to fit and a small crop is enlarged, both in their proportions.
    assert seen["sizes"] == [[77, 385], [128, 128]]
    # What nobody wrote has no probability, and a run of it is counted.
    assert seen["spelled"] == [["<1>", -0.5], ["<7> x 3 ", None], ["<2>", -2]]
    assert seen["opened"] != seen["stepped"]
    assert seen["stepped"].startswith("sft")
    assert [text.split(":")[0] for text in seen["compared"]] == ["sft", "rl"]
    assert len(set(seen["samples"])) == 1
    assert seen["samples"][0][1:] == seen["stepped"].removeprefix("sft")
    # The address alone gives the same view.
    assert (seen["shared"], seen["count_shared"]) == (seen["compared"], 20)
    # What a model wrote stayed text, and nothing was asked of any network.
    assert (seen["requests"], seen["faults"]) == ([], [])
    shots = sorted((tmp_path / "shots").iterdir())
    assert len(shots) == 7
    assert len({path.read_bytes() for path in shots}) == 7
    for path in shots:
        with Image.open(path) as shot:
            assert shot.width > 1000
