"""How fast the viewer's page opens: 10,000 generated trajectories with 30,000 pictures.

Writes the page, opens it in headless Chromium, takes the time from the start of loading until the
list stands, and then the tour: filter, search, sort, open, step, compare. The peer is a plain page
that holds the same trajectories as markup, as most viewers write them. The last line is one JSON
object.
"""

import argparse
import base64
import html
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from browser import find_browser, open_browser
from PIL import Image
from view_tour import tour

from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    Observation,
    RawSample,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
    Verdict,
    content_id,
)
from agentic_vlm.slices import Entry
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.view.page import write_page

_CROPS = 2
"""Crops per trajectory; with the question's picture three pictures each."""
_COLUMNS = ("verdicts", "tokens")
"""What the tour reads from whole columns of the list."""


def iter_entries(num: int, refs: list[ImageRef]) -> Iterator[Entry]:
    """Yield trajectories of the pocket's form."""
    for number in range(num):
        own = refs[number * 3 : number * 3 + 3]
        sample_id = content_id("benchmark", str(number // 2))
        left = number % 5 * 8
        code = f"image_1.crop(({left},8,{left + 8},16))"
        calls = [
            Turn(
                text=f"<think>Look closer at plate {number}.</think><code>{code}</code>",
                action=ToolCall(tool="python", code=code),
                observation=Observation(text="<image>", images=(ref,)),
                num_tokens=40 + number % 7,
            )
            for ref in own[1:]
        ]
        answer = Turn(
            text=f"<think>It is {number}.</think><answer>{number}</answer>",
            action=FinalAnswer(text=str(number)),
            num_tokens=12,
        )
        yield Entry(
            "rl" if number % 2 else "sft",
            Trajectory(
                trajectory_id=content_id("trajectory", str(number)),
                sample_id=sample_id,
                stage="evaluate",
                policy="benchmark",
                mode="agent",
                protocol="deepeyesv2",
                attempt=0,
                seed=0,
                system="You answer questions about pictures.",
                prompt=f"<image>What is the label on plate {number // 2}?",
                images=own[:1],
                turns=(*calls, answer),
                stop_reason=StopReason.ANSWER,
                answer=str(number),
                verdict=Verdict.CORRECT if number % 4 else Verdict.INCORRECT,
            ),
            RawSample(
                sample_id=sample_id,
                source="benchmark",
                source_row_id=str(number),
                split="test",
                family=("perception", "reasoning", "search")[number // 2 % 3],
                question=f"What is the label on plate {number // 2}?",
                answer=str(number),
                images=own[:1],
            ),
            None,
        )


def write_pictures(folder: Path, num: int) -> list[ImageRef]:
    """Write different pictures of a few kilobytes."""
    rng = np.random.default_rng(0)
    with ImageWriter(folder) as writer:
        return [
            writer.add(Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)))
            for _ in range(num)
        ]


def write_plain(path: Path, entries: Iterator[Entry], pictures: ImageStore) -> None:
    """Write the peer: everything as markup, one article after the other."""
    with path.open("w", encoding="utf-8") as out:
        out.write("<!doctype html><meta charset=utf-8><body>\n")
        for entry in entries:
            out.write(f"<article><h2>{html.escape(entry.trajectory.prompt)}</h2>")
            for turn in entry.trajectory.turns:
                out.write(f"<pre>{html.escape(turn.text)}</pre>")
                for ref in turn.observation.images if turn.observation else ():
                    content = base64.b64encode(pictures.get_bytes(ref)).decode()
                    out.write(f'<img src="data:{ref.media_type};base64,{content}">')
            out.write("</article>\n")
        out.write("<script>document.body.dataset.listedAfterMs = performance.now()</script>")


def open_page(browser: str, path: Path) -> float:
    """Return the milliseconds until the list of a page stands."""
    with open_browser(browser) as page:
        page.open(path.resolve().as_uri())
        return float(page.look("document.body.dataset.listedAfterMs"))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trajectories", type=int, default=10_000)
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the tour")
    options = parser.parse_args()
    browser = find_browser()
    if browser is None:
        raise SystemExit("no Chromium in PATH\n  fix: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        refs = write_pictures(folder / "images", options.trajectories * (1 + _CROPS))
        pictures = ImageStore.open(folder / "images")
        path, plain = folder / "page.html", folder / "plain.html"
        start_s = time.perf_counter()
        write_page(path, iter_entries(options.trajectories, refs), pictures, title="benchmark")
        write_s = time.perf_counter() - start_s
        write_plain(plain, iter_entries(options.trajectories, refs), pictures)
        shots = options.screenshots or folder / "shots"
        shots.mkdir(parents=True, exist_ok=True)
        listed_ms = open_page(browser, path)
        with open_browser(browser) as page:
            page.open(path.resolve().as_uri())
            seen = tour(page, shots, text="plate 1")
            faults = [*page.requests, *page.faults]
        plain_ms = open_page(browser, plain)
        result = {
            "benchmark": "view",
            "trajectories": options.trajectories,
            "pictures": len(refs),
            "page_mb": round(path.stat().st_size / 1e6, 1),
            "write_s": round(write_s, 2),
            "listed_after_ms": listed_ms,
            "plain_page_ms": round(plain_ms),
            "ratio": round(plain_ms / listed_ms, 1),
            "tour": {key: value for key, value in seen.items() if key not in _COLUMNS},
            "requests_and_faults": faults,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
