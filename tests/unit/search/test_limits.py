"""Rate limit, breaker and budget, by a clock that stands still until it is told."""

import pytest

from agentic_vlm.search.limits import Breaker, Budget, Throttle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_spread_evenly() -> None:
    clock = Clock()
    throttle = Throttle(max_per_second=4.0, clock=clock)
    waits = [throttle.reserve(max_wait_s=99.0) for _ in range(4)]
    assert waits == pytest.approx([0.0, 0.25, 0.5, 0.75])
    clock.now += 10.0
    assert throttle.reserve(max_wait_s=99.0) == 0.0


def test_who_cannot_wait_takes_nobodys_turn() -> None:
    throttle = Throttle(max_per_second=1.0, clock=Clock())
    assert throttle.reserve(max_wait_s=0.0) == 0.0
    assert throttle.reserve(max_wait_s=0.5) is None
    assert throttle.reserve(max_wait_s=1.0) == pytest.approx(1.0)


def test_a_service_that_asks_for_rest_gets_it() -> None:
    throttle = Throttle(max_per_second=1000.0, clock=Clock())
    throttle.hold(30.0)
    throttle.hold(5.0)
    assert throttle.reserve(max_wait_s=99.0) == pytest.approx(30.0)


def test_the_breaker_opens_after_failures_in_a_row_and_tries_with_one_request() -> None:
    clock = Clock()
    breaker = Breaker(max_failures=2, cooldown_s=10.0, clock=clock)
    breaker.fail()
    breaker.succeed()
    breaker.fail()
    assert breaker.wait_s() == 0.0
    breaker.fail()
    assert breaker.wait_s() == pytest.approx(10.0)
    clock.now += 10.0
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() == pytest.approx(10.0)
    breaker.succeed()
    assert [breaker.wait_s() for _ in range(3)] == [0.0] * 3


def test_a_failed_trial_opens_the_breaker_again() -> None:
    clock = Clock()
    breaker = Breaker(max_failures=1, cooldown_s=10.0, clock=clock)
    breaker.fail()
    clock.now += 10.0
    assert breaker.wait_s() == 0.0
    clock.now += 4.0
    breaker.fail()
    assert breaker.wait_s() == pytest.approx(10.0)


def test_the_budget_counts_calls_and_money_and_gives_money_back() -> None:
    budget = Budget(max_calls=4, max_usd=0.3, usd_per_call=0.1)
    assert [budget.take() for _ in range(3)] == [None] * 3
    assert budget.take() == "0.3 of 0.3 US dollars are spent"
    budget.refund()
    assert budget.take() is None
    assert budget.take() == "all 4 calls are used"
    assert (budget.num_calls, budget.usd) == (4, pytest.approx(0.3))


def test_without_limits_there_is_no_end() -> None:
    budget = Budget(max_calls=None, max_usd=None, usd_per_call=1.0)
    assert {budget.take() for _ in range(1000)} == {None}
