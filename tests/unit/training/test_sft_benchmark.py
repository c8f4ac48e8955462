"""The benchmark of the cold start: what its MFU counts."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_mfu_counts_6_per_trained_and_2_per_frozen_parameter_and_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    mfu = runpy.run_path(str(BENCHMARKS / "sft.py"))["mfu"]
    model = nn.ModuleList([nn.Linear(2, 4, bias=False), nn.Linear(3, 5, bias=False)])
    model[1].requires_grad_(requires_grad=False)
    model.config = SimpleNamespace(text_config=SimpleNamespace(hidden_size=7, num_hidden_layers=3))
    # Tokens of the two trajectories stand in contexts of 2 and 6: 5 on the mean.
    flops = 6 * 8 + 2 * 15 + 6 * 7 * 3 * 5
    assert mfu(model, [2, 6], 1000.0) == pytest.approx(1000.0 * flops / 989e12)
