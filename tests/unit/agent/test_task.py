"""EpisodeTask: ids and seeds."""

from agentic_vlm.agent.task import episode_seed, turn_seed
from agentic_vlm.schema import ProbeMode


def test_attempts_and_modes_have_seeds_of_their_own() -> None:
    seeds = {
        episode_seed(root, sample_id=sample, mode=mode, attempt=attempt)
        for root in (0, 1)
        for sample in ("a", "b")
        for mode in ProbeMode
        for attempt in range(4)
    }
    assert len(seeds) == 32
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_turns_have_seeds_of_their_own() -> None:
    assert turn_seed(7, 0) != turn_seed(7, 1)
