from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
from montecarlo import calibration
from montecarlo.storage import InputError

from tests.examples.conftest import MONTECARLO


@pytest.fixture(scope="module")
def history() -> calibration.History:
    return calibration.read_history((MONTECARLO / "data" / "index-history.csv.gz").read_bytes())


def test_the_shipped_history_is_whole_and_small(history: calibration.History) -> None:
    assert (history.dates[0], history.dates[-1], len(history.dates)) == ("1999-01-04", "2018-12-31", 5031)
    assert list(history.dates) == sorted(set(history.dates))
    assert history.closes["sp500"][-1] == pytest.approx(2506.85, abs=0.01)
    assert history.closes["nasdaq"][-1] == pytest.approx(6635.28, abs=0.01)
    assert (MONTECARLO / "data" / "index-history.csv.gz").stat().st_size < 200_000


def test_the_shipped_rate_is_the_last_month_annualised() -> None:
    rate = calibration.read_rate((MONTECARLO / "data" / "risk-free.csv").read_bytes())
    assert rate == pytest.approx(12 * math.log(1.0018))


def test_the_fit_finds_the_parameters_it_was_made_from() -> None:
    generator = np.random.default_rng(7)
    alpha, beta, long_run = 0.08, 0.90, 1e-4
    variance, returns = long_run, []
    for _ in range(20_000):
        returns.append(math.sqrt(variance) * generator.standard_normal())
        variance = (1 - alpha - beta) * long_run + alpha * returns[-1] ** 2 + beta * variance
    fit = calibration.fit_garch(np.array(returns))
    assert fit.alpha == pytest.approx(alpha, abs=0.015)
    assert fit.beta == pytest.approx(beta, abs=0.02)
    assert fit.next_day_variance == pytest.approx(variance, rel=0.1)


def test_the_end_of_2018_was_more_volatile_than_the_long_run(history: calibration.History) -> None:
    market = calibration.calibrate(history, 0.02, {"sp500": 0.01})
    sp500 = market.indices["sp500"]
    assert sp500.dividend_yield == 0.01
    assert 0.25 < sp500.volatility(1) < 0.35
    assert 0.15 < math.sqrt(252 * sp500.long_run_daily_variance) < 0.25
    assert sp500.volatility(21) > sp500.volatility(252)


def test_the_ladder_spans_every_day_of_the_history(history: calibration.History) -> None:
    returns = history.log_returns()
    shocks = calibration.shock_ladder(returns)
    assert 0.0 in shocks
    assert shocks[0] <= min(series.min() for series in returns.values())
    assert shocks[-1] >= max(series.max() for series in returns.values())


def test_a_history_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="at least 250 days"):
        calibration.read_history(gzip.compress(b"date,spx_close\n2018-12-31,100\n"))
