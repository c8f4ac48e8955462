"""Trajectories to look at: one self-contained page with every picture inside.

What a model wrote is hostile: all texts are escaped, pictures are data URIs of bytes from the image
store, and a content policy forbids scripts and requests.
"""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from agentic_vlm.errors import ImageError
from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    RawSample,
    ToolCall,
    Trajectory,
    Turn,
    Verdict,
)
from agentic_vlm.store import ImageStore

_CSS = """\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }
article { border: 1px solid #ccc; border-left-width: 6px; padding: 0.5rem 1rem; margin: 1.5rem 0; }
article.correct { border-left-color: #009e73; }
article.incorrect { border-left-color: #d55e00; }
article.ungraded { border-left-color: #999; }
h2 { font-size: 1.1rem; }
h2 span { font-weight: normal; color: #555; }
h3 { font-size: 0.9rem; color: #555; margin-bottom: 0.2rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
pre { background: #f5f5f5; padding: 0.5rem; }
pre.observation { background: #eaf3fa; margin-top: 0.3rem; }
pre.observation:not(.ok) { background: #fbeee6; }
figure { margin: 0.4rem 0; }
img { max-width: 24rem; max-height: 20rem; min-width: 6rem; border: 1px solid #ddd; }
footer { color: #777; font-size: 0.8rem; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"})


class Example(NamedTuple):
    """A trajectory and the sample that it is about."""

    model: str
    trajectory: Trajectory
    sample: RawSample


def choose_examples(
    trajectories: Iterable[Trajectory],
    samples: Mapping[str, RawSample],
    *,
    model: str,
    num_examples: int,
) -> list[Example]:
    """Return examples in turns: each family, right and wrong, tool questions first.

    The choice depends on the trajectories alone, never on their order.
    """
    groups: dict[tuple[str, str], list[Example]] = {}
    for trajectory in trajectories:
        if trajectory.verdict is None or trajectory.sample_id not in samples:
            continue
        sample = samples[trajectory.sample_id]
        key = (trajectory.verdict.value, sample.family)
        groups.setdefault(key, []).append(Example(model, trajectory, sample))
    for examples in groups.values():
        examples.sort(key=_rank)
    chosen: list[Example] = []
    depth = 0
    while len(chosen) < num_examples and depth < max(map(len, groups.values()), default=0):
        chosen += [groups[key][depth] for key in sorted(groups) if depth < len(groups[key])]
        depth += 1
    return chosen[:num_examples]


def render_page(examples: Sequence[Example], pictures: ImageStore) -> str:
    """Return the page as HTML; a picture that no folder holds is named by its digest."""
    body = "\n".join(_render_example(example, pictures) for example in examples)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>Trajectories</title>\n<style>\n{_CSS}</style></head>\n"
        f"<body><h1>Trajectories</h1>\n{body or '<p>There are none.</p>'}\n</body></html>\n"
    )


def _rank(example: Example) -> tuple[bool, str, str]:
    return (example.sample.need != "tool", example.sample.sample_id, example.trajectory.mode)


def _render_example(example: Example, pictures: ImageStore) -> str:
    sample, trajectory = example.sample, example.trajectory
    verdict = Verdict.UNGRADED if trajectory.verdict is None else trajectory.verdict
    need = "" if sample.need is None else f", {sample.need.value} question"
    title = f"{example.model}: {sample.family}{need}"
    shown = "".join(_render_picture(ref, pictures) for ref in trajectory.images)
    answer = "none" if trajectory.answer is None else trajectory.answer
    turns = "\n".join(
        _render_turn(number, turn, pictures) for number, turn in enumerate(trajectory.turns, 1)
    )
    facts = f"answer: {answer} | reference: {sample.answer} | ended: {trajectory.stop_reason.value}"
    failure = f"<pre>{_text(trajectory.failure)}</pre>" if trajectory.failure else ""
    return (
        f'<article class="{verdict.value}"><h2>{_text(title)} '
        f"<span>{verdict.value}</span></h2>\n"
        f"<p>{_text(sample.question)}</p>{shown}\n{turns}\n{failure}<p>{_text(facts)}</p>\n"
        f"<footer>sample {_text(sample.sample_id)}, trajectory "
        f"{_text(trajectory.trajectory_id)}</footer></article>"
    )


def _render_turn(number: int, turn: Turn, pictures: ImageStore) -> str:
    match turn.action:
        case ToolCall(tool=tool):
            what = f"calls {tool or 'nothing that has a name'}"
        case FinalAnswer():
            what = "answers"
        case _:
            what = "asks for nothing that can be understood"
    lines = [f"<h3>turn {number}: {_text(what)}</h3>"]
    lines.append(f"<pre>{_text(turn.prefill + turn.text)}</pre>")
    if turn.observation is not None:
        seen = turn.observation
        shown = "".join(_render_picture(ref, pictures) for ref in seen.images)
        lines.append(
            f'<pre class="observation {seen.status.value}">{_text(seen.text)}</pre>{shown}'
        )
    return "\n".join(lines)


def _render_picture(ref: ImageRef, pictures: ImageStore) -> str:
    size = f"{ref.width_px} x {ref.height_px} px"
    try:
        encoded = pictures.get_bytes(ref)
    except ImageError:
        return f"<p>picture {_text(ref.sha256[:12])}, {size}: not stored here</p>"
    if ref.media_type not in _MEDIA_TYPES:
        return f"<p>picture {_text(ref.sha256[:12])}, {size}: not shown by browsers</p>"
    content = base64.b64encode(encoded).decode("ascii")
    return f'<figure><img alt="{size}" src="data:{ref.media_type};base64,{content}"></figure>'


def _text(text: str) -> str:
    """Escape a text; control characters, which no page may hold, become visible."""
    plain = "".join(
        sign if sign.isprintable() or sign in "\n\t" else f"\\u{ord(sign):04x}" for sign in text
    )
    return html.escape(plain)
