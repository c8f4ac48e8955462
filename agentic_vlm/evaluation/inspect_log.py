"""A run as a log of inspect_ai, to be opened with `inspect view`. Needs the extra `inspect`."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.runs import RunCard
from agentic_vlm.schema import ImageRef, RawSample, ScoredAnswer, Trajectory, Verdict
from agentic_vlm.store import ImageStore

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

_VALUES = {Verdict.CORRECT: "C", Verdict.INCORRECT: "I", Verdict.UNGRADED: "N"}
"""Correct, incorrect, and `no answer` for what nobody could grade, as inspect spells them."""


def write_inspect_log(
    path: Path,
    *,
    card: RunCard,
    samples: Sequence[RawSample],
    trajectories: Sequence[Trajectory],
    scores: Sequence[ScoredAnswer],
    figures: Sequence[Figure],
    pictures: ImageStore,
) -> None:
    """Write the log; the suffix `.eval` or `.json` chooses its form.

    Args:
        path: the file.
        card: what the run is.
        samples: its items.
        trajectories: its episodes.
        scores: one per episode.
        figures: what the suite makes of them.
        pictures: of observations; a picture that is not in it is left out.

    Raises:
        ArtifactMissing: inspect_ai is not installed.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as fault:
        fix = "pip install 'agentic-vlm[inspect]'"
        raise ArtifactMissing("inspect_ai", "not installed", fix) from fault
    log = _build(card, samples, trajectories, scores, figures, pictures)
    write_eval_log(log, str(path))


def _build(
    card: RunCard,
    samples: Sequence[RawSample],
    trajectories: Sequence[Trajectory],
    scores: Sequence[ScoredAnswer],
    figures: Sequence[Figure],
    pictures: ImageStore,
) -> "EvalLog":
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec

    by_id = {sample.sample_id: sample for sample in samples}
    verdicts = {score.trajectory_id: score for score in scores}
    # Of the run, not of the clock: the log of a run is the same whenever it is written.
    created = datetime.fromtimestamp(0, tz=UTC).isoformat()
    spec = EvalSpec(
        created=created,
        task=card.suite,
        model=f"agentic-vlm/{card.model}",
        dataset=EvalDataset(name=card.file, samples=len(samples)),
        config=EvalConfig(epochs=card.num_attempts),
        metadata=card.model_dump(mode="json"),
    )
    return EvalLog(
        status="success",
        eval=spec,
        results=_results(figures, len(trajectories)),
        samples=[
            _sample(row, by_id[row.sample_id], verdicts.get(row.trajectory_id), pictures)
            for row in trajectories
        ],
    )


def _results(figures: Sequence[Figure], num_episodes: int) -> Any:
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    metrics: Mapping[str, Any] = {
        figure.name: EvalMetric(
            name=figure.name,
            value=figure.mean,
            metadata={key: value for key, value in figure._asdict().items() if key != "name"},
        )
        for figure in figures
        if figure.mean is not None
    }
    score = EvalScore(name="verdict", scorer="agentic_vlm.grading", metrics=dict(metrics))
    return EvalResults(total_samples=num_episodes, completed_samples=num_episodes, scores=[score])


def _sample(
    row: Trajectory, sample: RawSample, score: ScoredAnswer | None, pictures: ImageStore
) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ModelOutput,
    )
    from inspect_ai.scorer import Score

    messages: list[Any] = [ChatMessageSystem(content=row.system)] if row.system else []
    messages.append(ChatMessageUser(content=_content(row.prompt, row.images, pictures)))
    for turn in row.turns:
        messages.append(ChatMessageAssistant(content=turn.prefill + turn.text))
        if turn.observation is not None:
            seen = _content(turn.observation.text, turn.observation.images, pictures)
            messages.append(ChatMessageUser(content=seen))
    scores = {}
    if score is not None:
        scores["verdict"] = Score(
            value=_VALUES[score.verdict],
            answer=score.answer,
            explanation=score.rule,
            metadata={"calls": score.num_calls, "stop_reason": score.stop_reason},
        )
    return EvalSample(
        # An item that is asked in two modes is two samples there.
        id=f"{sample.source_row_id}/{row.mode}",
        epoch=row.attempt + 1,
        input=sample.question,
        target=[sample.answer, *sample.aliases],
        messages=messages,
        output=ModelOutput.from_content(row.policy, row.answer or ""),
        scores=scores,
        metadata={"flags": list(sample.flags), "trajectory_id": row.trajectory_id},
    )


def _content(text: str, refs: Sequence[ImageRef], pictures: ImageStore) -> Any:
    """Return text and pictures; the pictures of benchmarks stay in their files."""
    from inspect_ai.model import ContentImage, ContentText

    shown = [ref for ref in refs if ref.sha256 in pictures]
    if not shown:
        return text
    parts: list[Any] = [ContentText(text=text)]
    for ref in shown:
        encoded = base64.b64encode(pictures.get_bytes(ref)).decode()
        parts.append(ContentImage(image=f"data:{ref.media_type};base64,{encoded}"))
    return parts
