"""The hand-labelled answers: what every rule, and every judge, is measured with."""

from agentic_vlm.grading.labelled.pairs import LabelledAnswer, read_labelled

__all__ = ["LabelledAnswer", "read_labelled"]
