"""The plan of a run: every trajectory equally often, rows within their budget, ranks alike."""

from collections import Counter
from itertools import chain

import pytest

from agentic_vlm.training.schedule import Schedule, plan_schedule

_LENGTHS = [10, 20, 30, 40, 50, 60, 70]


def _plan(**changes: int | None) -> Schedule:
    wanted = {
        "num_steps": 7,
        "batch_size": 4,
        "batch_tokens": None,
        "row_tokens": 100,
        "seed": 0,
        **changes,
    }
    return plan_schedule(_LENGTHS, **wanted)  # type: ignore[arg-type]


def _steps(schedule: Schedule) -> list[list[int]]:
    size = schedule.rows_per_step
    rows = schedule.rows
    return [list(chain(*rows[at : at + size])) for at in range(0, len(rows), size)]


def test_every_trajectory_is_seen_equally_often() -> None:
    schedule = _plan()
    steps = _steps(schedule)
    assert [len(step) for step in steps] == [4] * 7
    assert set(Counter(chain(*steps)).values()) == {4}


def test_no_row_exceeds_its_budget_and_none_is_empty() -> None:
    for row in _plan().rows:
        assert 0 < sum(_LENGTHS[number] for number in row) <= 100


def test_a_trajectory_longer_than_a_row_has_a_row_of_its_own() -> None:
    rows = _plan(row_tokens=65, batch_size=2).rows
    assert [6] in rows
    assert all(len(row) == 1 for row in rows)


def test_a_budget_of_tokens_fills_steps_of_different_sizes() -> None:
    steps = _steps(_plan(batch_tokens=120, row_tokens=1000))
    sizes = [sum(_LENGTHS[number] for number in step) for step in steps]
    assert len(steps) == 7
    assert max(sizes) <= 120
    assert len({len(step) for step in steps}) > 1


def test_the_steps_are_the_same_for_one_rank_and_for_two() -> None:
    one, two = _plan(row_tokens=1000), _plan(row_tokens=1000, num_ranks=2)
    assert (one.rows_per_step, two.rows_per_step) == (1, 2)
    alone, together = _steps(one), _steps(two)
    assert [sorted(step) for step in alone] == [sorted(step) for step in together]


def test_other_seeds_give_other_orders() -> None:
    assert _plan(seed=0).rows == _plan(seed=0).rows
    assert _plan(seed=0).rows != _plan(seed=1).rows


def test_a_step_smaller_than_the_number_of_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match="a step has 4 trajectories for 8 processes"):
        _plan(num_ranks=8)


def test_an_empty_training_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no trajectories to train on"):
        plan_schedule([], num_steps=1, batch_size=1, batch_tokens=None, row_tokens=10, seed=0)
