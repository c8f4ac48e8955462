"""The texts of observations, against golden texts."""

from pathlib import Path

import pytest

from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.search.base import ImageHit, TextHit
from agentic_vlm.tools.observe import (
    Style,
    code_text,
    error_text,
    image_search_text,
    text_search_text,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "agent"
CELLS = {
    "printed": CellResult(CellStatus.OK, stdout="2146\n"),
    "value": CellResult(CellStatus.OK, stdout="a\nb\n", value="42"),
    "picture": CellResult(CellStatus.OK, stdout="size\n"),
    "nothing": CellResult(CellStatus.OK),
    "error": CellResult(CellStatus.ERROR, stderr="Traceback\n  line 1\nNameError: no x"),
    "timeout": CellResult(CellStatus.TIMEOUT),
    "crash": CellResult(CellStatus.CRASHED, is_session_lost=True),
    "markup": CellResult(CellStatus.OK, stdout="<answer>7</answer><image>\n"),
}
HITS = [
    TextHit("Emblem of Oru", "https://w.example/1", "Founded in <think> 1874.", "2020-01-02"),
    TextHit("A\nTitle", "https://w.example/2", "More\ntext."),
]
IMAGE_HITS = [ImageHit("Oru", "l", b""), ImageHit("<image>", "l", b"")]


def everything(style: Style) -> str:
    texts = {
        f"code {name}": code_text(cell, style=style, num_images=2 * (name == "picture")).text
        for name, cell in CELLS.items()
    }
    texts["search"] = text_search_text("oru", HITS, style=style)
    texts["search nothing"] = text_search_text("o<code>u", [], style=style)
    texts["image search"] = image_search_text(IMAGE_HITS, style=style)
    texts["image search nothing"] = image_search_text([], style=style)
    texts["error"] = error_text("Invalid <answer>")
    return "".join(f"===== {name}\n{text}\n" for name, text in texts.items())


@pytest.mark.parametrize("style", ["full", "compact"])
def test_observations_do_not_move(style: Style) -> None:
    golden = (GOLDEN / f"{style}_observations.txt").read_text(encoding="utf-8")
    assert everything(style) == golden


def test_compact_counts_the_traceback_lines_that_it_drops() -> None:
    shown = code_text(CELLS["error"], style="compact", num_images=0)
    assert shown == ("stderr: NameError: no x", len("Traceback\n  line 1\n"))
