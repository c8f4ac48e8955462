"""Builders of benchmark files in their published forms, with tiny pictures."""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.schema import ScoredAnswer, Verdict


def encode(colour: str, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 9), colour).save(stream, format=kind)
    return stream.getvalue()


class Pictures:
    """Tiny pictures by colour; red is a JPEG, the others are PNG."""

    def encoded(self, colour: str) -> bytes:
        return encode(colour, "JPEG" if colour == "red" else "PNG")

    def b64(self, colour: str) -> str:
        return base64.b64encode(self.encoded(colour)).decode()


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def tsv(tmp_path) -> Callable[..., Path]:
    """Give a writer of TSV files as VLMEvalKit makes them: every row may lack columns."""

    def write(name: str, *rows: dict[str, object]) -> Path:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t", restval="")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture
def parquet(tmp_path) -> Callable[..., Path]:
    """Give a writer of Parquet files."""

    def write(name: str, *rows: dict[str, object]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path

    return write


@pytest.fixture
def jsonl(tmp_path) -> Callable[..., Path]:
    """Give a writer of JSON Lines files."""

    def write(name: str, *rows: dict[str, object]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def read() -> Callable[..., list]:
    """Give a reader of all items of a suite."""

    def items(suite: str, path: Path) -> list:
        return list(SUITES[suite].iter_items(path))

    return items


@pytest.fixture
def make_scores(make_score) -> Callable[..., list[ScoredAnswer]]:
    """Give a builder of scored answers from pairs of labels and verdict (True, False, None)."""
    verdicts = {True: Verdict.CORRECT, False: Verdict.INCORRECT, None: Verdict.UNGRADED}

    def make(*rows: tuple[dict[str, str] | tuple[str, ...], bool | None]) -> list[ScoredAnswer]:
        scores = []
        for number, (labels, is_right) in enumerate(rows):
            flags = (
                labels
                if isinstance(labels, tuple)
                else tuple(f"{key}={value}" for key, value in labels.items())
            )
            scores.append(
                make_score(sample_id=f"s{number}", flags=flags, verdict=verdicts[is_right])
            )
        return scores

    return make


@pytest.fixture
def figures_of(make_scores) -> Callable[..., dict]:
    """Give a function from a suite and its scored labels to the figures by name."""

    def compute(suite: str, *rows: tuple[dict[str, str], bool | None]) -> dict:
        return {figure.name: figure for figure in SUITES[suite].aggregate(make_scores(*rows))}

    return compute
