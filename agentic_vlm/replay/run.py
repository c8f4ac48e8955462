"""Run the calls of a stored trajectory again, in a session and with pictures like those it had."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.agent.parse import parse_direct, parse_turn
from agentic_vlm.errors import ImageError, InfrastructureError
from agentic_vlm.grading import grade_answer
from agentic_vlm.params import GradingParams
from agentic_vlm.replay.compare import (
    Difference,
    Outcome,
    compare_observations,
    describe,
)
from agentic_vlm.replay.volatile import volatility_of
from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    Observation,
    ObservationStatus,
    ParseFailure,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
    Verdict,
)
from agentic_vlm.slices import Entry
from agentic_vlm.store import ImageStore
from agentic_vlm.tools.observe import error_text
from agentic_vlm.tools.toolbox import Toolbox, Toolkit
from agentic_vlm.vision import encode_png

_UNGRADED = GradingParams()
_Seen = Observation | Difference | None
"""What a turn gives now, or why it gives nothing; None where nothing was observed."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of running one trajectory again."""

    trajectory_id: str
    """The trajectory."""
    num_calls: int
    """Calls that were run again."""
    differences: tuple[Difference, ...]
    """All that was not equal; empty where everything was."""

    @property
    def outcome(self) -> Outcome:
        """The worst of the differences: different before unavailable before volatile."""
        found = {one.outcome for one in self.differences}
        ranked = (Outcome.DIFFERENT, Outcome.UNAVAILABLE, Outcome.VOLATILE)
        return next((one for one in ranked if one in found), Outcome.EQUAL)


async def replay_all(
    entries: Iterable[Entry],
    *,
    kit: Toolkit,
    pictures: ImageStore,
    grading: GradingParams = _UNGRADED,
    max_concurrent: int = 32,
    on_done: Callable[[], None] = lambda: None,
) -> AsyncIterator[Replayed]:
    """Yield one result per trajectory, in the order of the entries.

    Args:
        entries: the trajectories with their samples.
        kit: the tools; protocol, limits and layout must be those of the stored run.
        pictures: where the pictures of questions and observations are.
        grading: tolerances of the verdicts.
        max_concurrent: sessions at once.
        on_done: called after each trajectory.
    """
    slots = asyncio.Semaphore(max_concurrent)

    async def one(entry: Entry) -> Replayed:
        async with slots:
            found = await replay(entry, kit=kit, pictures=pictures, grading=grading)
        on_done()
        return found

    tasks = [asyncio.create_task(one(entry)) for entry in entries]
    for task in tasks:
        yield await task


async def replay(
    entry: Entry, *, kit: Toolkit, pictures: ImageStore, grading: GradingParams = _UNGRADED
) -> Replayed:
    """Run one trajectory again and compare: pictures, actions, observations, answer, verdict."""
    trajectory = entry.trajectory
    differences = _stored_pictures(trajectory, pictures)
    images, missing = _load(trajectory, pictures)
    num_calls = 0
    if missing:
        differences += missing
    else:
        seen = await _observe_all(trajectory, kit, images)
        found = _compare(trajectory, seen, seen)
        calls = [turn for turn in trajectory.turns if isinstance(turn.action, ToolCall)]
        num_calls = sum(turn.observation is not None for turn in calls)
        if found and volatility_of(_cells(trajectory)):
            # Once more: only that on which two runs of now disagree is excused.
            found = _compare(trajectory, seen, await _observe_all(trajectory, kit, images))
        differences += found
    differences += _answer(trajectory)
    differences += _verdict(entry, grading)
    return Replayed(trajectory.trajectory_id, num_calls, tuple(differences))


def _cells(trajectory: Trajectory) -> list[str]:
    return [turn.action.code for turn in trajectory.turns if isinstance(turn.action, ToolCall)]


def _compare(
    trajectory: Trajectory, seen: Sequence[_Seen], again: Sequence[_Seen]
) -> list[Difference]:
    """Compare actions with texts, and what was observed with what is observed now, twice."""
    found: list[Difference] = []
    cells: list[str] = []
    for number, turn in enumerate(trajectory.turns, start=1):
        found += _action(number, turn, trajectory)
        if isinstance(turn.action, ToolCall):
            cells.append(turn.action.code)
        now, then = seen[number - 1], again[number - 1]
        if isinstance(now, Difference):
            found.append(now)
        elif now is not None and turn.observation is not None:
            found += compare_observations(
                turn.observation, now, turn=number, volatility=volatility_of(cells),
                again=then if isinstance(then, Observation) else None,
            )  # fmt: skip
    return found


async def _observe_all(
    trajectory: Trajectory, kit: Toolkit, images: tuple[Image.Image, ...]
) -> list[_Seen]:
    """Run all turns in one session of their own; return what each gives now."""
    toolbox = Toolbox.for_episode(kit, images=images, seed=trajectory.seed)
    try:
        return [
            await _observe(number, turn, toolbox)
            for number, turn in enumerate(trajectory.turns, start=1)
        ]
    finally:
        await toolbox.close()


def _load(
    trajectory: Trajectory, pictures: ImageStore
) -> tuple[tuple[Image.Image, ...], list[Difference]]:
    try:
        return tuple(pictures.get(ref) for ref in trajectory.images), []
    except ImageError as fault:
        return (), [Difference("pictures of the question", Outcome.UNAVAILABLE, fault.what)]


def _stored_pictures(trajectory: Trajectory, pictures: ImageStore) -> list[Difference]:
    """Compare the bytes of every picture that is named with its digest."""
    named = list(trajectory.images)
    for turn in trajectory.turns:
        named += turn.observation.images if turn.observation else ()
    found = []
    for ref in dict.fromkeys(named):
        where = f"picture {ref.sha256[:12]}"
        try:
            encoded = pictures.get_bytes(ref)
        except ImageError as fault:
            found.append(Difference(where, Outcome.UNAVAILABLE, fault.what))
            continue
        digest = hashlib.sha256(encoded).hexdigest()
        if digest != ref.sha256:
            found.append(Difference(where, Outcome.DIFFERENT, describe(ref.sha256, digest)))
    return found


def _action(number: int, turn: Turn, trajectory: Trajectory) -> list[Difference]:
    """Compare the stored action with what the text of the turn asks for."""
    parse = parse_turn if trajectory.mode == "agent" else parse_direct
    action = parse(turn.prefill + turn.text)
    if action == turn.action:
        return []
    detail = describe(turn.action.model_dump_json(), action.model_dump_json())
    return [Difference(f"turn {number}, action", Outcome.DIFFERENT, detail)]


async def _observe(number: int, turn: Turn, toolbox: Toolbox) -> _Seen:
    if turn.observation is None:
        return None
    match turn.action:
        case ToolCall():
            try:
                result = await toolbox.run(turn.action)
            except InfrastructureError as fault:
                where = f"turn {number}, call of {turn.action.tool}"
                return Difference(where, Outcome.UNAVAILABLE, fault.what)
            return Observation(
                text=result.text,
                images=tuple(_ref(image) for image in result.images),
                status=result.status,
                error_class=result.error_class,
                num_dropped_chars=result.num_dropped_chars,
            )
        case ParseFailure():
            return Observation(
                text=error_text(turn.action.reason),
                status=ObservationStatus.MALFORMED,
                error_class="ParseFailure",
            )
        case FinalAnswer():
            detail = "an answer has no observation"
            return Difference(f"turn {number}, observation", Outcome.DIFFERENT, detail)


def _ref(image: Image.Image) -> ImageRef:
    digest = hashlib.sha256(encode_png(image)).hexdigest()
    return ImageRef(sha256=digest, width_px=image.width, height_px=image.height)


def _answer(trajectory: Trajectory) -> list[Difference]:
    answer = None
    last = trajectory.turns[-1].action if trajectory.turns else None
    if trajectory.stop_reason is StopReason.ANSWER and isinstance(last, FinalAnswer):
        answer = last.text
    if answer == trajectory.answer:
        return []
    return [Difference("answer", Outcome.DIFFERENT, describe(trajectory.answer, answer))]


def _verdict(entry: Entry, grading: GradingParams) -> list[Difference]:
    """Grade again; only verdicts that rules gave can be compared, a judge's opinion cannot."""
    trajectory = entry.trajectory
    if trajectory.verdict is None or trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        return []
    if entry.sample is None:
        detail = f"sample {trajectory.sample_id} is in no folder"
        return [Difference("verdict", Outcome.UNAVAILABLE, detail)]
    verdict = grade_answer(trajectory.answer, entry.sample, params=grading).verdict
    if verdict is trajectory.verdict:
        return []
    detail = describe(trajectory.verdict.value, verdict.value)
    is_doubt = verdict is Verdict.UNGRADED
    return [Difference("verdict", Outcome.UNAVAILABLE if is_doubt else Outcome.DIFFERENT, detail)]
