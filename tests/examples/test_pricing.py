from __future__ import annotations

import math

import numpy as np
import pytest
from montecarlo import blackscholes, pricing
from montecarlo.market import Index, Market
from montecarlo.portfolio import Option
from montecarlo.pricing import Estimate
from scipy.special import ndtr

from tests.examples.builders import a_market, an_option, flat_index

CURVED = Index("spx", 100.0, 0.01, long_run_daily_variance=1.5e-4, next_day_variance=4e-4, persistence=0.97)


def estimate(option: Option, market: Market | None = None, pairs: int = 20_000, seed: int = 5) -> Estimate:
    return pricing.price_option(option, market or a_market(), pairs, np.random.default_rng(seed))


@pytest.mark.parametrize("right", ["call", "put"])
@pytest.mark.parametrize("strike", [85.0, 100.0, 120.0])
def test_a_european_meets_black_scholes(right: str, strike: float) -> None:
    market = a_market(CURVED)
    option = an_option(right=right, strike=strike)
    found = estimate(option, market)
    assert abs(found.price - blackscholes.price(option, market)) < 3.5 * found.standard_error


def test_the_standard_error_is_that_of_repeated_runs() -> None:
    # mirrored paths of a call are strongly dependent: an error that took them for independent would be far too large
    option = an_option(strike=80.0)
    runs = [estimate(option, pairs=500, seed=seed) for seed in range(400)]
    observed = np.std([run.price for run in runs], ddof=1)
    claimed = np.mean([run.standard_error for run in runs])
    assert claimed == pytest.approx(observed, rel=0.1)


def test_antithetic_paths_reduce_the_error() -> None:
    option = an_option(strike=80.0)
    pairs = 20_000
    growth = np.exp(0.03 - 0.02 + 0.2 * np.random.default_rng(1).standard_normal(2 * pairs))
    plain = math.exp(-0.03) * np.maximum(100.0 * growth - 80.0, 0.0).std() / math.sqrt(2 * pairs)
    assert estimate(option, pairs=pairs).standard_error < 0.6 * plain


def test_an_asian_call_is_worth_less_than_the_european() -> None:
    asian = estimate(an_option(kind="asian"))
    european = estimate(an_option())
    assert 0 < asian.price < european.price


def test_an_asian_with_one_fixing_is_the_european() -> None:
    option = an_option(kind="asian", days=5)
    assert estimate(option).price == estimate(an_option(days=5)).price


def test_an_asian_lies_just_above_its_geometric_twin() -> None:
    # the geometric average is lognormal and has a closed form; the arithmetic one is never below it
    market = a_market()
    option = an_option(kind="asian")
    days = option.observation_days()
    daily = 0.2**2 / 252
    log_mean = math.log(100.0) + float(np.mean((0.03 / 252 - daily / 2) * days))
    variance = daily * float(np.minimum.outer(days, days).mean())
    d2 = (log_mean - math.log(100.0)) / math.sqrt(variance)
    d1 = d2 + math.sqrt(variance)
    geometric = math.exp(-0.03) * (math.exp(log_mean + variance / 2) * ndtr(d1) - 100.0 * ndtr(d2))
    found = estimate(option, market, pairs=40_000)
    assert geometric < found.price < 1.06 * geometric


def test_an_up_and_out_is_worth_less_than_the_european_and_more_with_a_higher_barrier() -> None:
    prices = [estimate(an_option(kind="up-and-out", barrier=barrier)).price for barrier in (110.0, 125.0, 150.0)]
    assert 0 <= prices[0] < prices[1] < prices[2] < estimate(an_option()).price


def test_an_up_and_out_without_a_reachable_barrier_is_the_european() -> None:
    found = estimate(an_option(kind="up-and-out", barrier=1e6))
    exact = blackscholes.price(an_option(), a_market())
    assert abs(found.price - exact) < 3.5 * found.standard_error


def test_an_up_and_out_meets_the_corrected_closed_form() -> None:
    # Broadie, Glasserman and Kou: daily closes against a barrier are like a continuous watch on one moved outwards
    # by exp(0.5826 sigma sqrt(dt)). Reiner and Rubinstein's formula for that, with strike below barrier.
    rate, sigma, years, spot, strike, barrier = 0.03, 0.2, 1.0, 100.0, 100.0, 130.0
    found = estimate(an_option(kind="up-and-out", barrier=barrier), pairs=60_000)
    moved = barrier * math.exp(0.5826 * sigma * math.sqrt(years / 252))
    deviation = sigma * math.sqrt(years)
    power = (rate - sigma**2 / 2) / sigma**2

    def part(x: float, eta: float, ratio: float) -> float:
        asset = spot * ratio ** (2 * (power + 1)) * ndtr(eta * x)
        cash = strike * math.exp(-rate * years) * ratio ** (2 * power) * ndtr(eta * (x - deviation))
        return float(asset - cash)

    shift = (1 + power) * deviation
    one = math.log(spot / strike) / deviation + shift
    two = math.log(spot / moved) / deviation + shift
    three = math.log(moved**2 / (spot * strike)) / deviation + shift
    four = math.log(moved / spot) / deviation + shift
    mirror = moved / spot
    exact = part(one, 1, 1.0) - part(two, 1, 1.0) + part(three, -1, mirror) - part(four, -1, mirror)
    assert abs(found.price - exact) < 3.5 * found.standard_error + 0.01


def test_the_ladder_is_the_price_at_the_shocked_spot() -> None:
    market = a_market()
    for option in (an_option(), an_option(kind="asian"), an_option(kind="up-and-out", barrier=125.0)):
        ladder = estimate(option, market, pairs=2000).ladder
        for shock, rung in zip(market.shocks, ladder, strict=True):
            moved = a_market(flat_index(spot=100.0 * math.exp(shock)))
            assert rung == pytest.approx(estimate(option, moved, pairs=2000).price, rel=1e-9)


def test_a_shock_over_the_barrier_kills_the_option() -> None:
    found = estimate(an_option(kind="up-and-out", barrier=108.0), pairs=2000)
    assert found.ladder[-1] == 0.0 < found.ladder[0]


def test_the_index_of_the_shard_fixes_its_random_numbers() -> None:
    options = [an_option(id="A"), an_option(id="B")]
    first = pricing.price_shard(options, a_market(), 1000, 1, 3)
    again = pricing.price_shard(options, a_market(), 1000, 1, 3)
    other = pricing.price_shard(options, a_market(), 1000, 1, 4)
    assert [first[name].price for name in "AB"] == [again[name].price for name in "AB"]
    assert first["A"].price != other["A"].price
    # two equal options in a shard don't share their errors
    assert first["A"].price != first["B"].price


def test_blocks_do_not_bias() -> None:
    pairs = pricing.BLOCK_PAIRS + 17
    found = estimate(an_option(), pairs=pairs)
    assert abs(found.price - blackscholes.price(an_option(), a_market())) < 4 * found.standard_error


def test_one_pair_has_no_error() -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        estimate(an_option(), pairs=1)
