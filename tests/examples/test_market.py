from __future__ import annotations

import json

import numpy as np
import pytest
from montecarlo.market import Index, Market

from tests.examples.builders import a_market, flat_index


def test_total_variance_is_the_sum_of_the_daily_forecasts() -> None:
    index = Index("spx", 100.0, 0.0, long_run_daily_variance=1e-4, next_day_variance=4e-4, persistence=0.95)
    forecasts = [1e-4 + 0.95**day * 3e-4 for day in range(60)]
    assert index.total_variance(60) == pytest.approx(sum(forecasts))
    assert np.all(np.diff(index.total_variance(np.arange(500))) > 0)


def test_volatility_is_per_year() -> None:
    assert flat_index(volatility=0.25).volatility(40) == pytest.approx(0.25)


def test_json_round_trip() -> None:
    market = a_market(flat_index(), flat_index(name="ndx"))
    assert Market.from_json(json.loads(json.dumps(market.to_json()))) == market
