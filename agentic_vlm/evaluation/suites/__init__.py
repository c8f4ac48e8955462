"""Benchmarks: one declaration each, with prompt, rule, figures, known files and paper column."""

from agentic_vlm.evaluation.suites import (
    counting,
    documents,
    logic,
    mathematics,
    own,
    reading,
    real_world,
    search,
    treebench,
    vstar,
)
from agentic_vlm.evaluation.suites.item import SuiteItem, label_of, to_sample
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        vstar.VSTAR,
        *real_world.SUITES,
        treebench.TREEBENCH,
        *documents.SUITES,
        *mathematics.SUITES,
        *logic.SUITES,
        *search.SUITES,
        *search.REALX_SUITES,
        *counting.SUITES,
        *mathematics.OTHER_SUITES,
        *reading.SUITES,
        *own.SUITES,
    )
}
"""Every suite by name, in the order of the report."""

__all__ = ["SUITES", "KnownFile", "Suite", "SuiteItem", "label_of", "to_sample"]
