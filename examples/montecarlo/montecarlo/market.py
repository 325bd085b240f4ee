"""What the pricing needs to know about the market: levels, the rate, and variance as a function of time.

Time is counted in trading days. The variance of an index's log return over the next n days is known today,

    w(n) = n V + (h - V) (1 - p^n) / (1 - p)

with V the long-run daily variance, h the variance forecast for the next day and p the persistence: the GARCH(1,1)
forecast, used as a deterministic term structure. All maturities so share one consistent volatility curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRADING_DAYS = 252
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Index:
    """One equity index as of the valuation day."""

    name: str
    spot: float
    dividend_yield: float
    """Continuously compounded, per year."""
    long_run_daily_variance: float
    next_day_variance: float
    persistence: float
    """The share of a gap to the long-run variance that is left a day later, 0 < p < 1."""

    def total_variance(self, days: ArrayLike) -> Floats:
        """Variance of the log return over the next `days` trading days."""
        n = np.asarray(days, dtype=np.float64)
        gap = self.next_day_variance - self.long_run_daily_variance
        decayed = (1.0 - self.persistence**n) / (1.0 - self.persistence)
        return np.asarray(n * self.long_run_daily_variance + gap * decayed)

    def volatility(self, days: float) -> float:
        """The flat volatility per year that gives the same variance over `days` trading days."""
        return float(np.sqrt(self.total_variance(days) * TRADING_DAYS / days))


@dataclass(frozen=True)
class Market:
    """Everything `price` and `report` know about the valuation day."""

    valuation_date: str
    rate: float
    """Risk-free, continuously compounded, per year, the same for all maturities."""
    indices: Mapping[str, Index]
    shocks: tuple[float, ...]
    """One-day log returns at which every option is revalued; 0.0 is one of them."""

    def carry(self, index: Index, days: ArrayLike) -> Floats:
        """The log of forward over spot for `days` trading days."""
        return (self.rate - index.dividend_yield) * np.asarray(days, dtype=np.float64) / TRADING_DAYS

    def discount(self, days: int) -> float:
        """Today's value of 1 paid after `days` trading days."""
        return float(np.exp(-self.rate * days / TRADING_DAYS))

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Market:
        """The market that `to_json` wrote."""
        return cls(
            valuation_date=document["valuation_date"],
            rate=document["rate"],
            indices={name: Index(**fields) for name, fields in document["indices"].items()},
            shocks=tuple(document["shocks"]),
        )
