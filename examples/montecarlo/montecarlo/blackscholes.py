"""Closed-form prices of European options (Black and Scholes, with a dividend yield and a variance term structure).

This is what the Monte Carlo prices are checked against, so it shares nothing with `pricing` but the market.
"""

from __future__ import annotations

import math

from scipy.special import ndtr

from montecarlo.market import Market
from montecarlo.portfolio import EUROPEAN, Option


def black_scholes(right: str, spot: float, strike: float, carry: float, discount: float, variance: float) -> float:
    """The price of a European option.

    `carry` is the log of forward over spot, `discount` the value today of 1 at maturity, `variance` that of the log
    return to maturity (for a flat volatility: its square times the years).
    """
    forward = spot * math.exp(carry)
    deviation = math.sqrt(variance)
    d1 = math.log(forward / strike) / deviation + 0.5 * deviation
    sign = 1.0 if right == "call" else -1.0
    undiscounted = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))
    return float(discount * undiscounted)


def price(option: Option, market: Market) -> float:
    """The closed-form price of a European `option` of the book, in index points."""
    if option.kind != EUROPEAN:
        raise ValueError(f"{option.id} is {option.kind}: there is no Black-Scholes price for it")
    index = market.indices[option.index]
    return black_scholes(
        right=option.right,
        spot=index.spot,
        strike=option.strike,
        carry=float(market.carry(index, option.days)),
        discount=market.discount(option.days),
        variance=float(index.total_variance(option.days)),
    )
