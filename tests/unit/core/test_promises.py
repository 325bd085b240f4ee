"""What placed attempts are expected to use yet (ADR 10)."""

from __future__ import annotations

import math

import pytest

from batchyard.core.promises import Promises, RunTime, mean_while_repeated, worth_of_run

FADE_SECONDS = 300.0


def used_after(seconds: float, vcpus: float) -> float:
    """What counts of vCPUs that have been occupied so long."""
    return vcpus * FADE_SECONDS * (1 - math.exp(-seconds / FADE_SECONDS))


def test_what_is_used_and_what_is_promised_fall_together_as_if_all_had_been_used_at_once() -> None:
    promises = Promises(FADE_SECONDS)
    promises.add("a", 2.0, 0, 120)
    at_first = promises.worth_at(0)
    assert at_first == pytest.approx(worth_of_run(2.0, 120, FADE_SECONDS))
    for seconds in (1, 60, 119, 120):
        together = promises.worth_at(seconds * 1000) + used_after(seconds, 2.0)
        assert together == pytest.approx(at_first * math.exp(-seconds / FADE_SECONDS))


def test_an_attempt_that_ends_early_or_late_promises_nothing_more() -> None:
    promises = Promises(FADE_SECONDS)
    promises.add("early", 1.0, 0, 60)
    promises.add("late", 1.0, 0, 10)
    promises.drop("early")
    assert promises.worth_at(5_000) == pytest.approx(worth_of_run(1.0, 5, FADE_SECONDS))
    assert promises.worth_at(20_000) == 0
    promises.drop("late")
    assert promises.worth_at(20_000) == 0


def test_another_time_constant_holds_for_what_was_promised_before() -> None:
    promises = Promises(FADE_SECONDS)
    promises.add("a", 1.0, 0, 60)
    promises.adopt(30.0)
    assert promises.worth_at(0) == pytest.approx(worth_of_run(1.0, 60, 30.0))


def test_no_length_of_attempts_is_too_much() -> None:
    promises = Promises(1.0)
    promises.add("a", 1.0, 0, 1e9)
    assert promises.worth_at(0) == pytest.approx(worth_of_run(1.0, 1e9, 1.0))
    promises.add("b", 1.0, 10**12, 1e9)
    assert 0 < promises.worth_at(10**12) < 1e5


@pytest.mark.parametrize("seconds", [1, 60, 600])
@pytest.mark.parametrize("period_seconds", [70, 700, 2000])
def test_the_mean_follows_from_the_lowest_point(seconds: float, period_seconds: float) -> None:
    added = worth_of_run(2.0, seconds, FADE_SECONDS)
    lowest = added / math.expm1(period_seconds / FADE_SECONDS)
    mean = 2.0 * seconds / period_seconds * FADE_SECONDS
    assert mean_while_repeated(lowest, 2.0, seconds, FADE_SECONDS) == pytest.approx(mean)
    assert mean_while_repeated(0.0, 2.0, seconds, FADE_SECONDS) == 0


def test_the_latest_ends_say_how_long_the_next_attempt_runs() -> None:
    run_time = RunTime()
    for _ in range(100):
        run_time.ended(10)
    assert run_time.mean_seconds == pytest.approx(10)
    for _ in range(50):
        run_time.ended(100)
    assert run_time.mean_seconds == pytest.approx(100, rel=0.1)
