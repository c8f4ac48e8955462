"""Tables about single answers: why wrong ones are wrong, what crops showed, what RL moved."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from agentic_vlm.analysis.errors import ErrorKind, diagnose_sample, shows_evidence
from agentic_vlm.analysis.scores import percent, title_of
from agentic_vlm.analysis.tables import table
from agentic_vlm.analysis.tool_use import kinds_of
from agentic_vlm.schema import ProbeMode, RawSample, StepKind, ToolCall, Trajectory, Verdict

Episodes = Mapping[str, Sequence[Trajectory]]
"""Graded episodes by model, as named in the summary."""
Samples = Mapping[str, RawSample]
"""Samples of the suites by id."""
_NUM_SEQUENCES = 6
_NUM_EXAMPLES = 3


def error_table(episodes: Episodes, samples: Samples) -> str:
    """Return how many answers of each model are wrong for which reason, and their shares.

    Models that were asked without tools are left out: they had nothing to choose.
    """
    rows = []
    for model, own in episodes.items():
        if all(episode.mode == ProbeMode.DIRECT for episode in own):
            continue
        counts = Counter(
            found
            for episode in own
            if episode.sample_id in samples
            and (found := diagnose_sample(episode, samples[episode.sample_id])) is not None
        )
        total = counts.total()
        shares = [
            f"{counts[kind]} ({percent(counts[kind] / total)})" if total else "-"
            for kind in ErrorKind
        ]
        rows.append([title_of(model), str(total), *shares])
    head = ["model", "wrong", *(kind.value.replace("_", " ") for kind in ErrorKind)]
    return table(head, rows) if rows else "No model was evaluated."


def evidence_table(episodes: Episodes, samples: Samples) -> str:
    """Return whether crops showed what the question is about, where that is known."""
    rows = []
    for model, own in episodes.items():
        num_crops = num_evident = 0
        seen: list[bool] = []
        unseen: list[bool] = []
        for episode in own:
            found = count_evident_crops(episode, samples.get(episode.sample_id))
            if found is None:
                continue
            num_crops, num_evident = num_crops + found[0], num_evident + found[1]
            (seen if found[1] else unseen).append(episode.verdict is Verdict.CORRECT)
        if num_crops:
            shares = [str(len(seen)), _share(seen), str(len(unseen)), _share(unseen)]
            rows.append(
                [title_of(model), str(num_crops), percent(num_evident / num_crops), *shares]
            )
    head = [
        "model", "crops", "show the evidence", "answers that saw it", "right of these",
        "answers that did not", "right of these",
    ]  # fmt: skip
    return table(head, rows) if rows else "No model cropped where the evidence is known."


def count_evident_crops(episode: Trajectory, sample: RawSample | None) -> tuple[int, int] | None:
    """Return how many crops an episode made and how many of them show what there is to see.

    Absent where it made none, or where the solution does not say what there is to see.
    """
    steps = () if sample is None else sample.solution
    boxes = [step for step in steps if step.kind is StepKind.CROP]
    calls = [turn.action for turn in episode.turns if isinstance(turn.action, ToolCall)]
    cuts = [call for call in calls if "crop(" in call.code]
    if not boxes or not cuts:
        return None
    return len(cuts), sum(any(shows_evidence(call, step) for step in boxes) for call in cuts)


def sequence_table(episodes: Episodes) -> str:
    """Return the commonest combinations of calls of each model, in order, and how they end."""
    rows = []
    for model, own in episodes.items():
        verdicts: dict[tuple[str, ...], list[bool]] = {}
        for episode in own:
            names = tuple(kind.value.replace("_", " ") for kind in kinds_of(episode))
            verdicts.setdefault(names, []).append(episode.verdict is Verdict.CORRECT)
        common = sorted(verdicts.items(), key=lambda item: (-len(item[1]), item[0]))
        for names, rights in common[:_NUM_SEQUENCES]:
            told = ", then ".join(names) or "no call"
            rows.append([title_of(model), told, str(len(rights)), _share(rights)])
    return (
        table(["model", "calls", "answers", "right"], rows) if rows else "No model was evaluated."
    )


def change_table(episodes: Episodes, samples: Samples, *, before: str, after: str) -> str:
    """Return by family what one model newly solves and newly breaks, with examples."""
    if before not in episodes or after not in episodes:
        return f"{title_of(before)} or {title_of(after)} was not evaluated."
    old = {episode.sample_id: episode for episode in episodes[before]}
    families: dict[str, tuple[list[str], list[str]]] = {}
    for episode in sorted(episodes[after], key=lambda row: row.sample_id):
        sample, earlier = samples.get(episode.sample_id), old.get(episode.sample_id)
        if sample is None or earlier is None:
            continue
        solved, broken = families.setdefault(sample.family, ([], []))
        pair = earlier.verdict is Verdict.CORRECT, episode.verdict is Verdict.CORRECT
        told = f"{sample.question} {_uses(earlier)} -> {_uses(episode)}"
        if pair == (False, True):
            solved.append(told)
        elif pair == (True, False):
            broken.append(told)
    rows = [
        [family, what, str(len(found)), "; ".join(found[:_NUM_EXAMPLES])]
        for family, both in sorted(families.items())
        for what, found in zip(("newly solved", "newly broken"), both, strict=True)
    ]
    return table(["family", "what", "answers", "examples: answer and calls, before -> after"], rows)


def _uses(episode: Trajectory) -> str:
    return f"{episode.answer or 'none'!r} ({episode.num_calls} calls)"


def _share(values: Iterable[bool]) -> str:
    known = list(values)
    return percent(sum(known) / len(known)) if known else "-"
