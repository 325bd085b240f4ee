"""Small markets and options for the tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from montecarlo.market import TRADING_DAYS, Index, Market
from montecarlo.portfolio import EUROPEAN, Option


def flat_index(volatility: float = 0.2, spot: float = 100.0, name: str = "spx", dividend_yield: float = 0.0) -> Index:
    """An index whose variance is the same every day; `volatility` per year."""
    daily = volatility**2 / TRADING_DAYS
    return Index(name, spot, dividend_yield, daily, daily, 0.9)


def a_market(*indices: Index, rate: float = 0.03, shocks: tuple[float, ...] = (-0.1, -0.05, 0.0, 0.05, 0.1)) -> Market:
    chosen = indices or (flat_index(),)
    return Market("2018-12-31", rate, {index.name: index for index in chosen}, shocks)


def an_option(**changes: Any) -> Option:
    """A European call at 100 on `spx`, a year to run."""
    option = Option("EU1", EUROPEAN, "call", "spx", 100.0, None, TRADING_DAYS, 1)
    return replace(option, **changes)
