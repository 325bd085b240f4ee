from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from montecarlo import blackscholes, pricing, risk
from montecarlo.portfolio import Option
from montecarlo.pricing import Estimate

from tests.examples.builders import a_market, an_option, flat_index

SHOCKS = tuple(round(step / 100, 10) for step in range(-12, 13))


def test_the_value_at_risk_is_the_loss_that_one_day_in_a_hundred_exceeds() -> None:
    profits = -np.arange(1000.0)
    measured = risk.measure(np.random.default_rng(1).permutation(profits))
    # losses 999 … 990 are the ten beyond it
    assert measured.value_at_risk == 989.0
    assert np.mean(profits < -measured.value_at_risk) == pytest.approx(0.01)
    assert measured.expected_shortfall == pytest.approx(994.0)
    assert measured.worst_loss == 999.0
    assert measured.interval_low < measured.value_at_risk < measured.interval_high


def test_the_worst_scenario_is_named() -> None:
    assert risk.measure(np.array([1.0, -5.0, 2.0])).worst_scenario == 1


def test_a_normal_book_has_the_normal_quantile() -> None:
    profits = 10.0 * np.random.default_rng(2).standard_normal(200_000)
    measured = risk.measure(profits)
    assert measured.value_at_risk == pytest.approx(23.26, rel=0.01)
    assert measured.expected_shortfall == pytest.approx(26.65, rel=0.01)


def test_the_interval_holds_the_true_value_at_risk_in_19_of_20_histories() -> None:
    generator = np.random.default_rng(4)
    truth = 2.326348
    measured = [risk.measure(generator.standard_normal(2000)) for _ in range(2000)]
    covered = np.mean([one.interval_low <= truth <= one.interval_high for one in measured])
    assert 0.94 < covered < 0.98


def test_positions_of_one_index_are_netted_and_indices_moved_together() -> None:
    flat = np.zeros(3)
    up = Estimate(1.0, 0.1, np.array([0.5, 1.0, 1.5]))
    options = [
        an_option(id="A", contracts=2),
        an_option(id="B", contracts=-2),
        an_option(id="C", contracts=1, index="ndx"),
    ]
    profits = risk.ladders(options, {"A": up, "B": up, "C": up})
    assert profits["spx"] == pytest.approx(flat)
    assert profits["ndx"] == pytest.approx([-50.0, 0.0, 50.0])
    both = risk.scenario_profits(
        (-0.1, 0.0, 0.1),
        {"spx": profits["ndx"], "ndx": profits["ndx"]},
        {"spx": np.array([0.1]), "ndx": np.array([-0.1])},
    )
    assert both == pytest.approx([0.0])


def test_a_toy_book_agrees_with_full_revaluation_by_formula() -> None:
    options = [an_option(id="A", days=60, contracts=-30), an_option(id="B", right="put", days=120, contracts=20)]
    market = a_market(shocks=SHOCKS)
    spots = 100.0 * np.exp(SHOCKS)

    def value(spot: float) -> float:
        moved = a_market(flat_index(spot=spot))
        return sum(option.units * blackscholes.price(option, moved) for option in options)

    estimates = {
        option.id: Estimate(
            blackscholes.price(option, market),
            0.0,
            np.array([blackscholes.price(option, a_market(flat_index(spot=float(spot)))) for spot in spots]),
        )
        for option in options
    }
    returns = np.clip(0.012 * np.random.default_rng(3).standard_t(4, size=1000), -0.11, 0.11)
    ladder = risk.ladders(options, estimates)
    fast = risk.scenario_profits(SHOCKS, ladder, {"spx": returns})
    full = np.array([value(100.0 * math.exp(move)) for move in returns]) - value(100.0)
    assert fast == pytest.approx(full, abs=0.002 * np.abs(full).max())
    assert risk.measure(fast).value_at_risk == pytest.approx(risk.measure(full).value_at_risk, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 0.01),
        ({"kind": "asian", "right": "put"}, 0.01),
        # as the spot rises paths die one by one: for a single option a barrier leaves steps between the rungs
        ({"kind": "up-and-out", "barrier": 128.0}, 0.05),
    ],
)
def test_between_the_rungs_the_spline_is_the_revaluation_by_the_same_paths(
    changes: dict[str, Any], tolerance: float
) -> None:
    option = an_option(**changes)
    ladder = risk.ladders([option], {option.id: _price(option, 100.0)})
    returns = np.array([-0.065, -0.013, 0.004, 0.037, 0.085])
    fast = risk.scenario_profits(SHOCKS, ladder, {"spx": returns})
    today = _price(option, 100.0).price
    full = np.array([option.units * (_price(option, 100.0 * math.exp(move)).price - today) for move in returns])
    assert fast == pytest.approx(full, abs=tolerance * np.abs(full).max())


def _price(option: Option, spot: float) -> Estimate:
    market = a_market(flat_index(spot=spot), shocks=SHOCKS)
    return pricing.price_option(option, market, 8000, np.random.default_rng(6))


def test_a_scenario_beyond_the_ladder_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the ladder"):
        risk.scenario_profits((-0.1, 0.0, 0.1), {"spx": np.zeros(3)}, {"spx": np.array([0.2])})
