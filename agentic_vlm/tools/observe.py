"""The texts of observations: what the model reads after a call.

Style `full` is the layout of DeepEyesV2 (released environment, code tool and search tools);
`compact` says the same in as few tokens as possible. Deviation: compact shows empty blocks and
search thumbnails not at all, and of stderr its last line only. Every piece of data is neutralised
here, so each `<image>` in a returned text is a marker of ours.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.search.base import ImageHit, Page, TextHit
from agentic_vlm.tools.foreign import tame
from agentic_vlm.tools.neutralise import IMAGE_MARK, neutralise

Style = Literal["full", "compact"]

TIMED_OUT = "TimeoutError: the code ran out of time"
CRASHED = "the Python session crashed"
NO_OUTPUT = "no output"
NO_RESULTS = "no results"


class ObservedText(NamedTuple):
    """An observation's text."""

    text: str
    """Ready to be rendered; `<image>` where a picture stands."""
    num_dropped_chars: int
    """Characters that this style leaves out."""


def code_text(result: CellResult, *, style: Style, num_images: int) -> ObservedText:
    """Return the observation of a code call; the last expression's value is shown like stdout."""
    stdout = "\n".join(part for part in (result.stdout.rstrip("\n"), result.value) if part)
    stderr = result.stderr.strip("\n") or _STATUS_NOTES.get(result.status, "")
    if style == "full":
        return ObservedText(_full_code(stdout, stderr, num_images), 0)
    return _compact_code(stdout, stderr, num_images)


def text_search_text(
    query: str, hits: Sequence[TextHit], *, style: Style, has_links: bool = False
) -> str:
    """Return the observation of a text search; `full` always has the addresses of the hits."""
    if style == "compact":
        lines = (
            f"{i}. {_line(hit.title)}{f' ({_line(hit.link)})' if has_links else ''}: "
            f"{_line(hit.snippet)}"
            for i, hit in enumerate(hits, start=1)
        )
        return "\n".join(lines) or NO_RESULTS
    if not hits:
        return _wrap(f"No results found for '{neutralise(query)}'. Try with a more general query.")
    head = f"A Google search for '{neutralise(query)}' found {len(hits)} results:"
    body = "\n\n".join(_full_hit(i, hit) for i, hit in enumerate(hits, start=1))
    return _wrap(f"{head}\n\n## Web Results\n{body}")


def image_search_text(hits: Sequence[ImageHit], *, style: Style) -> str:
    """Return the observation of an image search; `full` has a marker for each thumbnail."""
    if style == "compact":
        return (
            "\n".join(f"{i}. {_line(hit.title)}" for i, hit in enumerate(hits, start=1))
            or NO_RESULTS
        )
    if not hits:
        return _wrap(
            "No results found for the image. Try with text search or direct output the answer."
        )
    head = f"A Google image search for the image found {len(hits)} results:"
    lines = (f"{i}. {IMAGE_MARK}\n[{_line(hit.title)}] " for i, hit in enumerate(hits, start=1))
    return _wrap(head + "\n\n## Web Results\n" + "\n".join(lines))


def page_text(page: Page, *, max_chars: int, style: Style) -> ObservedText:
    """Return the observation of a visit; what exceeds `max_chars` is cut off, visibly."""
    text = page.text
    num_dropped = max(0, len(text) - max_chars)
    if num_dropped:
        text = text[:max_chars].rstrip() + f"\n[{num_dropped} more characters]"
    title = _line(page.title)
    body = _foreign(text)
    if style == "compact":
        return ObservedText(f"{title}: {body}" if title else body, num_dropped)
    date = f"Date published: {_line(page.date)}\n" if page.date else ""
    return ObservedText(_wrap(f"## {title or 'Page'}\n{date}\n{body}"), num_dropped)


def error_text(reason: str) -> str:
    """Return the observation of a call or a turn that could not be carried out."""
    return f"Error: {neutralise(reason)}"


_STATUS_NOTES = {CellStatus.TIMEOUT: TIMED_OUT, CellStatus.CRASHED: CRASHED}


def _full_code(stdout: str, stderr: str, num_images: int) -> str:
    blocks = [
        f"{name}:\n```\n{neutralise(text)}\n```\n"
        for name, text in (("stdout", stdout), ("stderr", stderr))
    ]
    images = ["Images:\n" + IMAGE_MARK * num_images] if num_images else []
    return "\n".join(["Code execution result:", *blocks, *images]).strip()


def _compact_code(stdout: str, stderr: str, num_images: int) -> ObservedText:
    last = stderr.rsplit("\n", 1)[-1].strip()
    lines = [f"stdout: {neutralise(stdout)}"] if stdout else []
    lines += [f"stderr: {neutralise(last)}"] if last else []
    lines += [IMAGE_MARK * num_images] if num_images else []
    return ObservedText("\n".join(lines) or NO_OUTPUT, len(stderr) - len(last))


def _full_hit(number: int, hit: TextHit) -> str:
    date = f"\nDate published: {_line(hit.date)}" if hit.date else ""
    return f"{number}. [{_line(hit.title)}]({_line(hit.link)}){date}\n\n{_foreign(hit.snippet)}"


def _line(text: str) -> str:
    return _foreign(" ".join(text.split()))


def _foreign(text: str) -> str:
    return neutralise(tame(text))


def _wrap(text: str) -> str:
    return f"<tool_response>\n{text}\n</tool_response>"
