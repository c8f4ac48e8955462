"""The viewer's page: everything is in it, nothing that a model wrote is markup, no request."""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.analysis.boxes import LookedAt, looked_at
from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.schema import (
    FinalAnswer,
    Observation,
    RawSample,
    Rollout,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
    Verdict,
)
from agentic_vlm.slices import Entry, open_slice
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.view.entries import COLUMNS, row_of
from agentic_vlm.view.page import write_page

_HOSTILE = "</script><script>alert(1)</script><img src=https://example.com/x onerror=alert(2)>"


@pytest.fixture
def make_entry(tmp_path: Path, make_image: Callable[..., Image.Image]) -> Callable[..., Entry]:
    with ImageWriter(tmp_path / "images") as writer:
        question, crop = writer.add(make_image()), writer.add(make_image("blue", (16, 16)))

    def make(number: int = 0, text: str = "It is K47.") -> Entry:
        code = "image_1.crop((0, 0, 16, 16))"
        seen = Observation(text="<image>", images=(crop,))
        trajectory = Trajectory(
            trajectory_id=f"t{number}",
            sample_id=f"s{number // 2}",
            stage="train_rl",
            policy="p",
            mode="agent",
            protocol="deepeyesv2",
            attempt=0,
            seed=0,
            system="",
            prompt="<image>What is the label?",
            images=(question,),
            turns=(
                Turn(
                    text=f"<think>Look.</think><code>{code}</code>",
                    action=ToolCall(tool="python", code=code),
                    observation=seen,
                    num_tokens=4,
                ),
                Turn(text=text, action=FinalAnswer(text="K47"), num_tokens=3),
            ),
            stop_reason=StopReason.ANSWER,
            answer="K47",
            verdict=Verdict.CORRECT,
        )
        sample = RawSample(
            sample_id=f"s{number // 2}",
            source="test",
            source_row_id=str(number),
            split="test",
            family="perception",
            question="What is the label?",
            answer="K47",
            images=(question,),
        )
        rollout = Rollout(
            trajectory=trajectory,
            step=number,
            policy_version=number,
            group_id="g",
            prompt_ids=(1,),
            completion_ids=(2, 3),
            loss_mask=(True, False),
            sampler_logprobs=(-0.25, 0.0),
            reward_accuracy=1.0,
            reward_format=1.0,
            reward=1.0,
            advantage=0.5,
        )
        return Entry("rl", trajectory, sample, rollout)

    return make


@pytest.fixture
def pictures(make_entry: Callable[..., Entry], tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "images")


def _unpack(page: str, name: str) -> object:
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page)
    assert found is not None, name
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def test_a_page_holds_every_trajectory_and_each_picture_once(
    make_entry: Callable[..., Entry], pictures: ImageStore, tmp_path: Path
) -> None:
    entries = [make_entry(number) for number in range(90)]
    counts = write_page(tmp_path / "page.html", iter(entries), pictures, title="all")
    page = (tmp_path / "page.html").read_text()
    index = _unpack(page, "index")
    assert isinstance(index, dict)
    details = [
        one
        for number in sorted({row[COLUMNS.index("block")] for row in index["rows"]})
        for one in _unpack(page, f"block-{number}")  # type: ignore[attr-defined]  # a list
    ]
    assert [one["id"] for one in details] == [f"t{number}" for number in range(90)]
    assert [row[0] for row in index["rows"]] == [one["id"] for one in details]
    assert counts == (90, 2, 0)
    assert page.count('id="picture-') == 2
    assert details[5]["turns"][0]["boxes"] == [[1, 0, 0, 16, 16]]
    assert details[5]["training"]["reward"] == 1.0


def test_the_list_comes_before_trajectories_and_pictures(
    make_entry: Callable[..., Entry], pictures: ImageStore, tmp_path: Path
) -> None:
    write_page(tmp_path / "page.html", [make_entry()], pictures, title="order")
    page = (tmp_path / "page.html").read_text()
    at = [page.index(part) for part in ('id="index"', "start();", 'id="block-0"', 'id="picture-')]
    assert at == sorted(at)


def test_what_a_model_wrote_is_never_markup(
    make_entry: Callable[..., Entry], pictures: ImageStore, tmp_path: Path
) -> None:
    entry = make_entry(text=_HOSTILE + "\ud800")
    write_page(tmp_path / "page.html", [entry], pictures, title=_HOSTILE)
    page = (tmp_path / "page.html").read_text()
    assert "alert(1)</script>" not in page
    assert "<img src=https" not in page
    scripts = re.findall(r"<script(?! type=\"text/plain\")[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1] == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert "innerHTML" not in scripts[0]


def test_a_missing_picture_is_counted_and_the_page_is_written(
    make_entry: Callable[..., Entry], tmp_path: Path
) -> None:
    counts = write_page(tmp_path / "page.html", [make_entry()], ImageStore({}), title="none")
    assert counts == (1, 2, 2)


def test_tokens_are_spelled_where_asked_and_only_sampled_ones_have_a_log_probability(
    make_entry: Callable[..., Entry], pictures: ImageStore, tmp_path: Path
) -> None:
    write_page(
        tmp_path / "page.html",
        [make_entry()],
        pictures,
        title="tokens",
        spell=lambda ids: [f"<{one}>" for one in ids],
    )
    (detail,) = _unpack((tmp_path / "page.html").read_text(), "block-0")  # type: ignore[misc]
    assert detail["training"]["tokens"] == [["<2>", -0.25], ["<3>", None]]


def test_the_script_and_the_rows_agree_on_their_columns(make_entry: Callable[..., Entry]) -> None:
    script = (Path(row_of.__code__.co_filename).parent / "page.js").read_text()
    named = re.search(r"const COLUMNS = (\[.*?\]);", script, re.DOTALL)
    assert named is not None
    assert tuple(json.loads(named[1])) == COLUMNS
    assert len(row_of(make_entry())) == len(COLUMNS) - 1


def test_a_slice_that_was_not_run_says_what_to_run(tmp_path: Path) -> None:
    chosen = open_slice("rollouts", tmp_path)
    with pytest.raises(ArtifactMissing) as caught:
        list(chosen.iter_entries())
    assert str(caught.value) == (
        f"{tmp_path}/data/rollouts/records: no such folder\n  fix: run: dvc repro train_rl"
    )
    with pytest.raises(RecordError, match="name one of scores, rollouts"):
        open_slice("rollout", tmp_path)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("python", "x = image_2.crop((1, 2, 3, 4))"), [LookedAt(2, (1, 2, 3, 4))]),
        (("python", "image_1.crop(box=[1.5, 2, 3, 4]).resize((9, 9))"), [(1, (1.5, 2, 3, 4))]),
        (("python", "image_1.crop((a, 2, 3, 4))"), []),
        (("python", "part.crop((1, 2, 3, 4))"), []),
        (("python", "image_1.crop((1, 2, 3)"), []),
        (("python", "image_1.crop((1e99, 2, 3, 4))"), []),
        (("image_search", '{"image": "image_2", "box": [1, 2, 3, 4]}'), [(2, (1, 2, 3, 4))]),
        (("image_search", '{"box": "all"}'), []),
        (("search", "[[[["), []),
    ],
)
def test_boxes_are_read_from_plain_numbers_only(
    call: tuple[str, str], expected: list[LookedAt]
) -> None:
    tool, text = call
    made = ToolCall(tool=tool, code=text) if tool == "python" else None
    made = made or ToolCall(tool=tool, arguments_json=text)
    assert looked_at(made) == expected
