"""What a measurement comes to: the goal is about the right percentile, in the right direction."""

from __future__ import annotations

import pytest

from bench.figures import Figure, goal_text, per_pair, percentile


def test_a_goal_is_about_the_median() -> None:
    rate = Figure("rate", "jobs/s", (100.0, 300.0, 200.0), goal=100.0)
    assert (rate.judged, rate.ratio, goal_text(rate)) == (200.0, 2.0, "≥ 100")


def test_a_goal_can_be_about_a_percentile() -> None:
    latencies = Figure("p99", "ms", tuple(map(float, range(1, 101))), goal=20.0, lower_is_better=True, judged_at=99)
    assert (latencies.judged, latencies.ratio) == (99.0, pytest.approx(20 / 99))
    assert goal_text(latencies) == "p99 ≤ 20.0"


def test_a_goal_that_asks_for_little_is_met_by_nothing_at_all() -> None:
    idle = Figure("idle", "%", (0.0,), goal=1.0, lower_is_better=True)
    assert idle.ratio is not None and idle.ratio > 1


def test_no_goal_no_ratio() -> None:
    assert Figure("peer", "jobs/s", (1.0,)).ratio is None


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([4.0, 2.0, 1.0, 3.0], percent) == value


def test_pairs_are_compared_one_by_one() -> None:
    assert per_pair([10.0, 30.0], [5.0, 10.0]) == (2.0, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        per_pair([1.0, 2.0], [1.0])
