"""Tables of suites: the paper's rows beside ours, and what must not stand side by side."""

from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.tables import coverage_line, family_tables, figure_lines

OURS = Figure("overall", 0.8, 0.74, 0.85, 191, 0, 0.8, 0.8)
DOUBT = Figure("average", 0.5, 0.4, 0.6, 190, 4, 0.49, 0.51)


def test_every_figure_has_interval_n_and_bounds():
    first, second = figure_lines([OURS, DOUBT])
    assert first.split() == ["overall", "80.0", "%", "(74.0-85.0)", "n=191"]
    assert second.endswith("n=190  4 without a verdict: 49.0 to 51.0")
    (nothing,) = figure_lines([Figure("x", None, None, None, 0, 2, 0.0, 1.0)])
    assert nothing.split() == ["x", "-", "2", "without", "a", "verdict:", "0.0", "to", "100.0"]


def test_the_papers_rows_stand_beside_ours():
    text = family_tables({"mine": {"vstar": (191, [OURS]), "ocrbench": (3, [OURS])}})
    assert "| model | V* | OCRBench |" in text
    own = "80.0 (74.0-85.0), n 191"
    assert f"| **mine** | {own} | {own} partial, 3 of 1000 |" in text
    # OCRBench is printed in points of 1,000.
    assert "| DeepEyesV2 (paper) | 81.8 | 88.2 |" in text


def test_the_public_realx_questions_never_stand_beside_figures_on_300():
    text = family_tables({"mine": {"realx_bench_194": (194, [DOUBT])}})
    assert "| RealX-Bench-194 |" in text
    assert "bounds 49.0-51.0" in text
    assert "(paper)" not in text
    assert "DeepEyesV2, all (paper)" in family_tables({"mine": {"realx_bench": (300, [DOUBT])}})


def test_a_part_of_a_benchmark_is_called_so():
    assert coverage_line(SUITES["vstar"], 191) == "all 191 items"
    assert coverage_line(SUITES["vstar"], 20).startswith("PARTIAL: 20 of 191")
