"""An outage of the judge is ours: never a wrong answer, in evaluation, probe and RL alike."""

import asyncio
from collections.abc import Callable

import pytest

from agentic_vlm.agent.state import Episode
from agentic_vlm.curation.attempts import _verdict
from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.evaluation.run import grade_trajectories
from agentic_vlm.params import GradingParams, TrainRlParams
from agentic_vlm.schema import CuratedSample, Trajectory, Verdict
from agentic_vlm.training.rollouts import Roller


class DownJudge:
    """Fails whatever it is asked."""

    async def judge(self, question: str, *, answer: str, references: tuple[str, ...]) -> Verdict:
        raise JudgeUnavailable("judge", "it is down", "start it")


class SureJudge:
    """Says `correct`."""

    async def judge(self, question: str, *, answer: str, references: tuple[str, ...]) -> Verdict:
        return Verdict.CORRECT


@pytest.fixture
def sample(make_sample: Callable[..., CuratedSample]) -> CuratedSample:
    return make_sample(answer="red")


@pytest.fixture
def trajectory(make_trajectory: Callable[..., Trajectory], sample: CuratedSample) -> Trajectory:
    """Give an episode with an answer that no rule can be sure about."""
    return make_trajectory(sample_id=sample.sample_id, answer="crimson", verdict=None)


@pytest.mark.parametrize(
    ("judge", "verdict", "rule"),
    [
        (DownJudge(), Verdict.UNGRADED, "unavailable"),
        (SureJudge(), Verdict.CORRECT, "judge"),
    ],
)
def test_evaluation_asks_the_judge_and_leaves_an_outage_ungraded(
    sample: CuratedSample,
    trajectory: Trajectory,
    judge: DownJudge | SureJudge,
    verdict: Verdict,
    rule: str,
) -> None:
    samples = {sample.sample_id: sample}
    work = grade_trajectories([trajectory], samples, judge=judge, params=GradingParams())
    ((graded, grade),) = asyncio.run(work)
    assert (graded.verdict, grade.verdict, grade.rule) == (verdict, verdict, rule)


def test_a_probe_whose_judge_is_down_has_no_verdict(
    sample: CuratedSample, trajectory: Trajectory
) -> None:
    params = GradingParams()
    assert asyncio.run(_verdict(trajectory, sample, params, judge=DownJudge())) is None
    assert asyncio.run(_verdict(trajectory, sample, params, judge=SureJudge())) == "correct"


@pytest.mark.parametrize(("judge", "has_reward"), [(DownJudge(), False), (SureJudge(), True)])
def test_a_rollout_whose_judge_is_down_has_no_reward(
    sample: CuratedSample,
    trajectory: Trajectory,
    judge: DownJudge | SureJudge,
    has_reward: bool,
) -> None:
    roller = Roller(
        None,  # type: ignore[arg-type]  # only the reward is asked for
        renderer=None,  # type: ignore[arg-type]
        kit=None,  # type: ignore[arg-type]
        loop=None,  # type: ignore[arg-type]
        samples={sample.sample_id: sample},
        pictures=None,  # type: ignore[arg-type]
        params=TrainRlParams(),
        grading=GradingParams(),
        seed=0,
        judge=judge,
    )
    episode = Episode(trajectory, None, {}, ())
    rewarded = asyncio.run(roller._reward(episode, sample, 0, 0))
    assert (rewarded.reward is not None) is has_reward
