"""One-day value at risk by historical simulation with full revaluation.

Every pair of consecutive closes in the history is a scenario: the log returns of that day, of all indices together,
applied to today's levels. The book's profit or loss in a scenario is the sum over indices of its revalued positions,
read off the ladder that `pricing` made with a cubic spline; volatilities, the rate and the calendar stay as today.
The 99 % value at risk is the loss that one scenario in a hundred exceeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from montecarlo.market import Floats
from montecarlo.portfolio import Option
from montecarlo.pricing import Estimate

CONFIDENCE = 0.99
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Risk:
    """One-day figures in currency units; losses are positive."""

    value_at_risk: float
    interval_low: float
    interval_high: float
    """A 95 % confidence interval for the value at risk, from the order statistics next to it."""
    expected_shortfall: float
    """The mean loss of the scenarios at or beyond the value at risk."""
    worst_loss: float
    worst_scenario: int
    """The place in the history of the scenario with the worst loss."""


def ladders(options: Sequence[Option], estimates: Mapping[str, Estimate]) -> dict[str, Floats]:
    """By index: the profit of all positions together at each rung of the ladder, in currency units."""
    total: dict[str, Floats] = {}
    for option in options:
        estimate = estimates[option.id]
        profit = option.units * (estimate.ladder - estimate.price)
        total[option.index] = total[option.index] + profit if option.index in total else profit
    return total


def scenario_profits(shocks: Sequence[float], profits: Mapping[str, Floats], returns: Mapping[str, Floats]) -> Floats:
    """The book's profit in every scenario, in currency units.

    `profits` holds a ladder over `shocks` by index, `returns` the joint daily log returns by index.
    """
    scenarios = len(next(iter(returns.values())))
    outcome = np.zeros(scenarios)
    for name, ladder in profits.items():
        moves = returns[name]
        if moves.min() < shocks[0] or moves.max() > shocks[-1]:
            raise ValueError(f"a scenario of {name} lies outside the ladder from {shocks[0]} to {shocks[-1]}")
        outcome += CubicSpline(shocks, ladder)(moves)
    return outcome


def measure(profits: Floats) -> Risk:
    """Value at risk and its companions from equally likely scenario `profits`."""
    losses = np.sort(-profits)[::-1]
    tail = len(losses) * (1.0 - CONFIDENCE)
    # the scenarios worse than the true quantile are binomial in number; so many ranks either way
    spread = NORMAL_95 * np.sqrt(tail * CONFIDENCE)
    rank = _rank(tail, len(losses))
    return Risk(
        value_at_risk=float(losses[rank]),
        interval_low=float(losses[_rank(tail + spread + 1.0, len(losses))]),
        interval_high=float(losses[_rank(tail - spread - 1.0, len(losses))]),
        expected_shortfall=float(losses[: rank + 1].mean()),
        worst_loss=float(losses[0]),
        worst_scenario=int(np.argmin(profits)),
    )


def _rank(position: float, count: int) -> int:
    """The place, from 0, in `count` descending losses below which at most `position` losses lie."""
    # 0.01 is not a binary fraction: 100 scenarios must give one in the tail, not 0.999…
    return min(max(int(np.floor(position + 1e-9)), 0), count - 1)
