"""The scripted teacher: follows reference solutions, but knows only what observations say."""

import random
import re
from collections.abc import Generator, Mapping

from PIL import Image

from agentic_vlm.backends.base import Request
from agentic_vlm.params import ScriptedTeacher
from agentic_vlm.schema import CuratedSample, SolutionStep, StepKind
from agentic_vlm.synthesis.reading import read_step, shows_something
from agentic_vlm.synthesis.slips import (
    Conduct,
    break_code,
    choose_conduct,
    choose_step,
    guess_answer,
    rng_of,
    slip,
    write_placeholder,
)
from agentic_vlm.world.script import (
    think_after,
    think_before,
    write_answer,
    write_step,
    write_turn,
)

TEACHER_ID = "scripted:teacher"
"""Policy id of the teacher."""

Lecture = Generator[str, Request, None]
"""Yields the text of each turn and is sent the conversation with its observation."""


class TeacherScript:
    """Writes the turns of many episodes; a Script of `backends.scripted`."""

    def __init__(
        self,
        episodes: Mapping[str, tuple[CuratedSample, int]],
        *,
        params: ScriptedTeacher,
        seed: int,
    ) -> None:
        """Take what the episodes are about.

        Args:
            episodes: sample and attempt by episode id.
            params: how often things go wrong.
            seed: root of all chance.
        """
        self._episodes = episodes
        self._params = params
        self._seed = seed
        self._lectures: dict[str, Lecture] = {}

    def __call__(self, request: Request) -> str:
        """Return the next turn; turn 0 begins anew, as after an outage."""
        if request.turn == 0:
            self._lectures[request.episode_id] = lecture = self._begin(request)
            return next(lecture)
        return self._lectures[request.episode_id].send(request)

    def _begin(self, request: Request) -> Lecture:
        sample, attempt = self._episodes[request.episode_id]
        rng = rng_of(self._seed, sample.sample_id, attempt)
        conduct = choose_conduct(
            rng,
            sample,
            mistake_rate=self._params.mistake_rate,
            recovery_rate=self._params.recovery_rate,
        )
        picture = request.images[0] if request.images else None
        return _Lecturer(sample, conduct, rng, picture).lecture()


class _Lecturer:
    """One trajectory."""

    def __init__(
        self,
        sample: CuratedSample,
        conduct: Conduct,
        rng: random.Random,
        picture: Image.Image | None,
    ) -> None:
        self._sample = sample
        self._conduct = conduct
        self._rng = rng
        self._picture = picture
        self._is_first = True
        self._read: list[tuple[str, str]] = []

    def lecture(self) -> Lecture:
        """Yield turns until the answer."""
        if not self._sample.solution or self._conduct is Conduct.GIVE_UP:
            is_clean = self._conduct is Conduct.CLEAN
            answer = self._sample.answer if is_clean else self._guess()
            yield self._turn("Easy.", write_answer(answer))
            return
        slip_at = choose_step(self._rng, self._sample, self._conduct)
        thought: str = ""
        reading: str | None = None
        for number, planned in enumerate(self._sample.solution):
            step = self._with_readings(planned)
            conduct = self._conduct if number == slip_at else Conduct.CLEAN
            reading = yield from self._take(step, thought, conduct)
            if reading is None:
                break
            self._read.append((planned.reads, reading))
            thought = think_after(step.model_copy(update={"reads": reading}))
        answer = self._guess() if reading is None else reading
        yield self._turn(thought if reading else f"It is {answer}.", write_answer(answer))

    def _take(
        self, step: SolutionStep, thought: str, conduct: Conduct
    ) -> Generator[str, Request, str | None]:
        """Carry out a step and return what its observation says; None where it says nothing."""
        before = f"{thought} {think_before(step, self._sample.question)}".strip()
        match conduct:
            case Conduct.WRONG:
                step = slip(self._rng, step, self._picture)
            case Conduct.RECOVERY:
                careless = slip(self._rng, step, self._picture)
                request = yield self._turn(before, write_step(careless))
                if found := self._read_anyway(careless, step, request):
                    return found
                before = f"{_notice(careless, request)} {self._again(step)}"
            case Conduct.BROKEN_CODE:
                yield self._turn(before, break_code(self._rng, step))
                before = f"That was an error. {self._again(step)}"
            case Conduct.PLACEHOLDER:
                yield self._turn(before, write_placeholder(step))
                before = self._again(step)
            case Conduct.CLEAN | Conduct.GIVE_UP:
                pass
        request = yield self._turn(before, write_step(step))
        if step.kind is StepKind.CROP and conduct is Conduct.WRONG:
            return None
        return read_step(step, request)

    def _again(self, step: SolutionStep) -> str:
        if step.kind is StepKind.CROP:
            return "Look again."
        return "Search again." if step.kind is StepKind.TEXT_SEARCH else "Compute it again."

    def _read_anyway(
        self, careless: SolutionStep, step: SolutionStep, request: Request
    ) -> str | None:
        """Return the fact where a general query found it by luck."""
        if careless.kind is not StepKind.TEXT_SEARCH:
            return None
        return read_step(step, request)

    def _with_readings(self, step: SolutionStep) -> SolutionStep:
        """Return the step with what was really read in place of what should have been."""
        text = step.text
        for expected, seen in self._read:
            if expected:
                text = seen.join(re.split(rf"(?<!\w){re.escape(expected)}(?!\w)", text))
        return step.model_copy(update={"text": text})

    def _guess(self) -> str:
        return guess_answer(self._rng, self._sample)

    def _turn(self, thought: str, action: str) -> str:
        is_first, self._is_first = self._is_first, False
        return write_turn(thought, action, is_first=is_first)


def _notice(careless: SolutionStep, request: Request) -> str:
    """Return what one says about the observation of a slip."""
    match careless.kind:
        case StepKind.CROP:
            is_plate = shows_something(request.messages[-1])
            return "That is the wrong plate." if is_plate else "There is no label."
        case StepKind.COMPUTE:
            return "A number is wrong."
        case StepKind.TEXT_SEARCH | StepKind.IMAGE_SEARCH:
            return "That is not it."
