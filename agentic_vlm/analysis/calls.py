"""What a tool call is for, read from the syntax tree of its code.

The six classes of DeepEyesV2 (arXiv 2511.05271: crop, numerical analysis, mark, other
image operation, image search, text search) and three that reveal hollow calls. The paper does not
say how it classified; the rules here are ours. Of several operations in one cell the first of
crop, mark and other image operation counts. Names are looked at, values never: code that hides
its calls behind `getattr` counts as what is left of it.
"""

import ast
import warnings
from enum import StrEnum

from agentic_vlm.analysis.cells import read_cell
from agentic_vlm.schema import Observation, ObservationStatus, ToolCall


class CallKind(StrEnum):
    """What a call does."""

    CROP = "crop"
    """Cuts a part out of a picture."""
    MARK = "mark"
    """Draws on a picture."""
    OTHER_IMAGE = "other_image"
    """Resizes, rotates, filters, measures or otherwise changes a picture."""
    NUMERICAL = "numerical"
    """Computes without touching pixels."""
    IMAGE_SEARCH = "image_search"
    """Asks the image search."""
    TEXT_SEARCH = "text_search"
    """Asks the text search."""
    REDISPLAY = "redisplay"
    """Shows a picture again, unchanged."""
    PLACEHOLDER = "placeholder"
    """Code that does nothing: empty, comments, imports, or constants."""
    ERROR = "error"
    """Failed by the model's own doing, whatever it was for."""


_SEARCHES = {"search": CallKind.TEXT_SEARCH, "image_search": CallKind.IMAGE_SEARCH}


def classify_call(call: ToolCall, observation: Observation | None) -> CallKind:
    """Return what a call does; a call that failed is an error, whatever it was for.

    >>> classify_call(ToolCall(tool="python", code="image_1.crop((0, 0, 9, 9))"), None).value
    'crop'
    """
    if observation is not None and observation.status is not ObservationStatus.OK:
        return CallKind.ERROR
    if call.tool == "python":
        return classify_code(call.code)
    return _SEARCHES.get(call.tool, CallKind.ERROR)


def classify_code(code: str) -> CallKind:
    r"""Return what a cell does, from its text alone.

    >>> [classify_code(code).value for code in ("print(3 * 4)", "# look closer", "image_1")]
    ['numerical', 'placeholder', 'redisplay']
    """
    try:
        with warnings.catch_warnings():
            # Model code is full of invalid escapes, and their warnings are nobody's news.
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return CallKind.ERROR
    facts = read_cell(tree)
    if facts.crops:
        return CallKind.CROP
    if facts.draws:
        return CallKind.MARK
    if facts.changes_picture:
        return CallKind.OTHER_IMAGE
    if facts.computes:
        return CallKind.NUMERICAL
    if facts.sees_picture:
        return CallKind.REDISPLAY
    return CallKind.NUMERICAL if facts.reads_earlier_names else CallKind.PLACEHOLDER
