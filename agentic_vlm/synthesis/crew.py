"""The teachers of a run: who makes which attempt, at what temperature, within what budget."""

import bisect
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.base import Policy
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import (
    ImportedTeacher,
    OpenAITeacher,
    Params,
    PooledTeacher,
    ScriptedTeacher,
    TeacherPool,
)
from agentic_vlm.schema import CuratedSample, ProbeMode, content_id
from agentic_vlm.synthesis.budget import Budget
from agentic_vlm.synthesis.teacher import TEACHER_ID, TeacherScript

if TYPE_CHECKING:
    from agentic_vlm.backends.patient import PatientPolicy

STAGE = "synthesize"


@dataclass(frozen=True, slots=True)
class Seat:
    """One teacher."""

    policy: Policy
    temperatures: tuple[float, ...]
    """By attempt, from the beginning again after the last."""
    weight: float = 1.0
    server: "PatientPolicy | None" = None
    """The policy again, where a server samples."""


@dataclass(frozen=True, slots=True)
class Crew:
    """All teachers of a run."""

    seats: tuple[Seat, ...]
    budget: Budget | None = None
    """Counts what servers bill; absent for teachers that cost nothing."""

    @property
    def is_paid(self) -> bool:
        """Whether attempts cost money, so that each is kept as soon as it is finished."""
        return self.budget is not None

    def assign(self, sample_id: str, attempt: int) -> tuple[int, float]:
        """Return who makes an attempt, and the temperature; a digest decides, by the weights."""
        weights = [seat.weight for seat in self.seats]
        drawn = int(content_id("teacher", sample_id, str(attempt)), 16) / 2**64 * sum(weights)
        edges = list(itertools.accumulate(weights))[:-1]
        number = bisect.bisect_right(edges, drawn)
        temperatures = self.seats[number].temperatures
        return number, temperatures[attempt % len(temperatures)]

    def check(self) -> None:
        """Stop where the budget is spent or a server is lost.

        Raises:
            InfrastructureError: it is; finished attempts are kept for the next run.
        """
        if self.budget is not None:
            self.budget.check()
        for seat in self.seats:
            if seat.server is not None:
                seat.server.check_lost()

    async def close(self) -> None:
        """Close all teachers."""
        for seat in self.seats:
            await seat.policy.close()


def build_crew(params: Params, samples: Sequence[CuratedSample], *, scratch: Path) -> Crew:
    """Return the teachers that the params name.

    Args:
        params: chooses them.
        samples: the cold-start pool; the scripted teacher acts from its solutions.
        scratch: where the bill is kept, so that a restart goes on counting.

    Raises:
        InfrastructureError: a teacher is behind a server whose address is not set.
        ParamsError: the trajectories are imported, so that nobody acts.
    """
    teacher = params.synthesize.teacher
    match teacher:
        case ScriptedTeacher():
            episodes = _episodes(samples, num_attempts=params.synthesize.num_attempts)
            script = TeacherScript(episodes, params=teacher, seed=params.seed)
            return Crew((Seat(ScriptedPolicy(script, policy_id=TEACHER_ID), (0.0,)),))
        case OpenAITeacher():
            member = PooledTeacher(model=teacher.model, temperatures=(teacher.temperature,))
            return _pool(TeacherPool(members=(member,), requests_per_minute=6000.0), scratch)
        case TeacherPool():
            return _pool(teacher, scratch)
        case ImportedTeacher():
            what = "imported trajectories have no teacher"
            raise ParamsError("synthesize.teacher", what, "import them instead")


def _pool(pool: TeacherPool, scratch: Path) -> Crew:
    # The client takes a second to import, and the scripted teacher never needs it.
    from agentic_vlm.synthesis.metered import build_metered

    budget = Budget.from_environment(scratch / "bill.jsonl")
    seats = []
    for member in pool.members:
        base_url = os.environ.get(member.url_env, "")
        if not base_url:
            fix = f"export {member.url_env}=http://HOST:PORT/v1"
            raise InfrastructureError(member.url_env, "the teacher has no address", fix)
        budget.set_price(
            member.model,
            usd_per_million_input=member.usd_per_million_input,
            usd_per_million_output=member.usd_per_million_output,
        )
        policy = build_metered(
            member.model,
            base_url=base_url,
            api_key=os.environ.get(member.key_env, "none"),
            budget=budget,
            requests_per_minute=pool.requests_per_minute,
            patience_s=pool.patience_s,
        )
        seats.append(Seat(policy, member.temperatures, member.weight, policy))
    return Crew(tuple(seats), budget)


def _episodes(
    samples: Sequence[CuratedSample], *, num_attempts: int
) -> Mapping[str, tuple[CuratedSample, int]]:
    """Return sample and attempt by episode id."""
    episodes = {}
    for sample in samples:
        for attempt in range(num_attempts):
            task = EpisodeTask(
                sample.sample_id, sample.question, (), (), ProbeMode.AGENT, attempt, 0, STAGE
            )
            episodes[task.episode_id(TEACHER_ID)] = (sample, attempt)
    return episodes
