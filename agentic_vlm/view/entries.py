"""What the page knows about a trajectory: a short row for the list, and the whole for a look."""

import math
from collections.abc import Callable, Sequence

from agentic_vlm.analysis.boxes import looked_at
from agentic_vlm.analysis.calls import classify_call
from agentic_vlm.schema import FinalAnswer, Rollout, ToolCall, Turn
from agentic_vlm.slices import Entry

SpellTokens = Callable[[Sequence[int]], list[str]]
"""Returns the text of each token."""

COLUMNS = (
    "id",
    "sample",
    "model",
    "family",
    "need",
    "mode",
    "verdict",
    "ended",
    "step",
    "reward",
    "calls",
    "failed",
    "tokens",
    "kinds",
    "question",
    "answer",
    "block",
)
"""Names of the fields of a row of the list, in order; `page.js` has the same list."""
_MAX_CHARS = 160
"""Characters of a question or an answer in the list."""


def row_of(entry: Entry) -> list[object]:
    """Return the row of the list, without the number of its block: see COLUMNS."""
    trajectory, sample, rollout = entry.trajectory, entry.sample, entry.rollout
    kinds = sorted(
        {
            classify_call(turn.action, turn.observation).value
            for turn in trajectory.turns
            if isinstance(turn.action, ToolCall)
        }
    )
    return [
        trajectory.trajectory_id,
        trajectory.sample_id,
        entry.model,
        sample.family if sample else "",
        (sample.need.value if sample.need else "") if sample else "",
        trajectory.mode,
        trajectory.verdict.value if trajectory.verdict else "",
        trajectory.stop_reason.value,
        rollout.step if rollout else None,
        rollout.reward if rollout else None,
        trajectory.num_calls,
        trajectory.num_failed_calls,
        trajectory.num_tokens,
        kinds,
        (sample.question if sample else trajectory.prompt)[:_MAX_CHARS],
        (trajectory.answer or "")[:_MAX_CHARS],
    ]


def detail_of(entry: Entry, *, spell: SpellTokens | None) -> dict[str, object]:
    """Return everything that is shown of a trajectory."""
    trajectory, sample = entry.trajectory, entry.sample
    return {
        "id": trajectory.trajectory_id,
        "sample": trajectory.sample_id,
        "model": entry.model,
        "policy": trajectory.policy,
        "protocol": trajectory.protocol,
        "attempt": trajectory.attempt,
        "ended": trajectory.stop_reason.value,
        "failure": trajectory.failure,
        "verdict": trajectory.verdict.value if trajectory.verdict else "",
        "question": sample.question if sample else "",
        "reference": sample.answer if sample else "",
        "answer": trajectory.answer,
        "system": trajectory.system,
        "prompt": trajectory.prompt,
        "images": [[ref.sha256, ref.width_px, ref.height_px] for ref in trajectory.images],
        "turns": [_turn(turn) for turn in trajectory.turns],
        "training": None if entry.rollout is None else _training(entry.rollout, spell),
    }


def _turn(turn: Turn) -> dict[str, object]:
    action, seen = turn.action, turn.observation
    shown: dict[str, object] = {"text": turn.prefill + turn.text, "tokens": turn.num_tokens}
    match action:
        case ToolCall():
            shown |= {
                "does": f"calls {action.tool or 'nothing that has a name'}",
                "kind": classify_call(action, seen).value,
                "boxes": [[part.image, *part.box] for part in looked_at(action)],
            }
        case FinalAnswer():
            shown["does"] = "answers"
        case _:
            shown["does"] = f"asks for nothing that can be understood: {action.reason}"
    if seen is not None:
        shown["seen"] = {
            "text": seen.text,
            "status": seen.status.value,
            "images": [[ref.sha256, ref.width_px, ref.height_px] for ref in seen.images],
            "dropped": seen.num_dropped_chars,
        }
    return shown


def _training(rollout: Rollout, spell: SpellTokens | None) -> dict[str, object]:
    facts: dict[str, object] = {
        "step": rollout.step,
        "group": rollout.group_id,
        "reward": rollout.reward,
        "accuracy": rollout.reward_accuracy,
        "format": rollout.reward_format,
        "advantage": rollout.advantage,
    }
    if spell is not None:
        facts["tokens"] = [
            [text, round(logprob, 3) if mask and math.isfinite(logprob) else None]
            for text, logprob, mask in zip(
                spell(rollout.completion_ids),
                rollout.sampler_logprobs,
                rollout.loss_mask,
                strict=True,
            )
        ]
    return facts
