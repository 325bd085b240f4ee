"""From a daily price history to a market.

Volatility: a GARCH(1,1) by maximum likelihood on each index's log returns, the long-run variance pinned to the
sample's (variance targeting), so two numbers are fitted: alpha, the weight of yesterday's squared return, and beta, the
weight of yesterday's variance. The next day's forecast, the long-run level and the persistence alpha + beta give the
term structure in `market`.

Rate: the last month of the risk-free column, a simple return per month, annualised and flat.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.signal import lfilter

from montecarlo.market import Floats, Index, Market
from montecarlo.storage import InputError

TOO_SHORT_DAYS = 250
SHOCK_STEP = 0.01
"""Spacing of the revaluation ladder in log return: `risk` interpolates between its rungs."""


@dataclass(frozen=True)
class History:
    """Daily closing levels of several indices on common dates."""

    dates: tuple[str, ...]
    closes: Mapping[str, Floats]

    def log_returns(self) -> dict[str, Floats]:
        """Daily log returns by index; the i-th is the move from day i to day i + 1."""
        return {name: np.diff(np.log(levels)) for name, levels in self.closes.items()}


@dataclass(frozen=True)
class Garch:
    """A fitted GARCH(1,1): h' = (1 - alpha - beta) V + alpha r^2 + beta h, variances per day."""

    alpha: float
    beta: float
    long_run_daily_variance: float
    next_day_variance: float


def read_history(content: bytes) -> History:
    """Parse a gzipped CSV `date,NAME_close,…`."""
    rows = list(csv.reader(io.StringIO(gzip.decompress(content).decode())))
    header, body = rows[0], rows[1:]
    if header[0] != "date" or len(header) < 2 or len(body) < TOO_SHORT_DAYS:
        raise InputError(f"the price history needs a date column, closes and at least {TOO_SHORT_DAYS} days")
    closes = {
        name.removesuffix("_close"): np.array([float(row[column]) for row in body])
        for column, name in enumerate(header)
        if column > 0
    }
    if any((levels <= 0).any() for levels in closes.values()):
        raise InputError("the price history has a close that is not positive")
    return History(dates=tuple(row[0] for row in body), closes=closes)


def read_rate(content: bytes) -> float:
    """The continuously compounded yearly rate from the last line of a CSV `month,risk_free_percent`."""
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    if not rows:
        raise InputError("the risk-free series is empty")
    return 12.0 * float(np.log1p(float(rows[-1]["risk_free_percent"]) / 100.0))


def fit_garch(returns: Floats) -> Garch:
    """Maximum likelihood over (alpha, beta) by Nelder-Mead, from a start typical of equity indices."""
    squares = (returns - returns.mean()) ** 2
    long_run = float(squares.mean())

    def negative_log_likelihood(parameters: Floats) -> float:
        alpha, beta = parameters
        if alpha <= 0.0 or beta < 0.0 or alpha + beta >= 0.9999:
            return float("inf")
        variances = _variances(squares, alpha, beta, long_run)[:-1]
        return float(0.5 * np.sum(np.log(variances) + squares / variances))

    # tolerances far below what a price can show, so that the numbers do not hang on the simplex's last steps
    options = {"xatol": 1e-7, "fatol": 1e-7, "maxiter": 2000}
    fit = minimize(negative_log_likelihood, np.array([0.09, 0.89]), method="Nelder-Mead", options=options)
    if not fit.success:
        raise InputError(f"the volatility fit did not converge: {fit.message}")
    alpha, beta = (float(value) for value in fit.x)
    forecast = float(_variances(squares, alpha, beta, long_run)[-1])
    return Garch(alpha=alpha, beta=beta, long_run_daily_variance=long_run, next_day_variance=forecast)


def _variances(squares: Floats, alpha: float, beta: float, long_run: float) -> Floats:
    """The variance of every day given the days before it, and of the day after the last: one more than `squares`."""
    omega = (1.0 - alpha - beta) * long_run
    recursion, _ = lfilter([1.0], [1.0, -beta], omega + alpha * squares, zi=[beta * long_run])
    return np.concatenate(([long_run], recursion))


def shock_ladder(returns: Mapping[str, Floats]) -> tuple[float, ...]:
    """Rungs of `SHOCK_STEP` from beyond the worst day to beyond the best day of any index, through exactly 0."""
    lowest = int(np.floor(min(series.min() for series in returns.values()) / SHOCK_STEP))
    highest = int(np.ceil(max(series.max() for series in returns.values()) / SHOCK_STEP))
    return tuple(round(step * SHOCK_STEP, 10) for step in range(lowest, highest + 1))


def calibrate(history: History, rate: float, dividend_yields: Mapping[str, float]) -> Market:
    """The market on the last day of `history`."""
    returns = history.log_returns()
    indices: dict[str, Index] = {}
    for name, levels in history.closes.items():
        garch = fit_garch(returns[name])
        indices[name] = Index(
            name=name,
            spot=float(levels[-1]),
            dividend_yield=float(dividend_yields.get(name, 0.0)),
            long_run_daily_variance=garch.long_run_daily_variance,
            next_day_variance=garch.next_day_variance,
            persistence=garch.alpha + garch.beta,
        )
    return Market(valuation_date=history.dates[-1], rate=rate, indices=indices, shocks=shock_ladder(returns))
