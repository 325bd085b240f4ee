"""Monte Carlo prices, with standard errors and a revaluation ladder.

Under the pricing measure an index level is S exp(carry(n) - w(n)/2 + W(n)), W Gaussian with independent increments and
variance w(n). It is drawn exactly on the days a payoff looks at, so no price has a discretisation error: a European
takes one step to maturity; an Asian's average is over its contractual fixings (every fifth trading day); a barrier is
watched at daily closes, which is the contract priced here and not an approximation of a continuously watched one.

Antithetic variates: every Gaussian path W is used with its mirror image -W. The two are dependent, so the sample whose
spread gives the standard error is that of the pair means.

The ladder: payoffs depend on a path only through its end, its average and its highest close, and these scale with the
starting level. So one set of paths reprices an option at every shocked spot, and the noise common to two rungs falls
out of their difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from montecarlo.market import Floats, Market
from montecarlo.portfolio import ASIAN, UP_AND_OUT, Option

BLOCK_PAIRS = 1024
"""Paths are drawn in blocks: a block of a year's daily steps is 2 MB and stays in the processor's cache."""


@dataclass(frozen=True)
class Estimate:
    """The price of one option, in index points."""

    price: float
    standard_error: float
    ladder: Floats
    """The price after each of the market's shocks to the spot, by the same paths."""


def price_shard(
    options: Iterable[Option], market: Market, paths: int, seed: int, shard_index: int
) -> dict[str, Estimate]:
    """Price each of `options` with `paths` paths, half of them mirror images.

    The random numbers depend on the seed, the shard's index and the option's place in it only, and no two options
    share any: errors are independent and add up in quadrature.
    """
    estimates: dict[str, Estimate] = {}
    for place, option in enumerate(options):
        sequence = np.random.SeedSequence(seed, spawn_key=(shard_index, place))
        estimates[option.id] = price_option(option, market, paths // 2, np.random.default_rng(sequence))
    return estimates


def price_option(option: Option, market: Market, pairs: int, generator: np.random.Generator) -> Estimate:
    """Price `option` from `pairs` pairs of mirrored paths."""
    if pairs < 2:
        raise ValueError("a standard error needs at least two pairs of paths")
    index = market.indices[option.index]
    days = option.observation_days()
    variance = index.total_variance(days)
    drift = market.carry(index, days) - 0.5 * variance
    deviations = np.sqrt(np.diff(variance, prepend=0.0))
    spots = index.spot * np.exp(np.asarray(market.shocks))
    today = market.shocks.index(0.0)

    pair_means = np.empty(pairs)
    ladder_sums = np.zeros(len(spots))
    for start in range(0, pairs, BLOCK_PAIRS):
        block = min(BLOCK_PAIRS, pairs - start)
        walk = _walk(deviations, block, generator)
        payoffs = _payoffs(option, spots, walk, drift)
        payoffs += _payoffs(option, spots, np.negative(walk, out=walk), drift)
        payoffs *= 0.5
        pair_means[start : start + block] = payoffs[today]
        ladder_sums += payoffs.sum(axis=1)

    discount = market.discount(option.days)
    return Estimate(
        price=float(discount * pair_means.mean()),
        standard_error=float(discount * pair_means.std(ddof=1) / np.sqrt(pairs)),
        ladder=discount * ladder_sums / pairs,
    )


def _walk(deviations: Floats, block: int, generator: np.random.Generator) -> Floats:
    """Gaussian walks, one row an observation day, one column a path."""
    walk = generator.standard_normal((len(deviations), block))
    walk *= deviations[:, None]
    for step in range(1, len(walk)):
        walk[step] += walk[step - 1]
    return walk


def _payoffs(option: Option, spots: Floats, walk: Floats, drift: Floats) -> Floats:
    """The payoff at maturity, in index points: one row a starting level, one column a path."""
    sign = 1.0 if option.right == "call" else -1.0
    if option.kind == ASIAN:
        growth: Floats = np.exp(walk + drift[:, None]).mean(axis=0)
    else:
        growth = np.exp(walk[-1] + drift[-1])
    payoffs: Floats = (sign * spots)[:, None] * growth
    payoffs -= sign * option.strike
    np.maximum(payoffs, 0.0, out=payoffs)
    if option.kind == UP_AND_OUT:
        if option.barrier is None:
            raise ValueError(f"{option.id} has no barrier")
        # the starting level counts as a close: a shock that lifts it over the barrier has killed the option
        highest = np.exp(np.maximum((walk + drift[:, None]).max(axis=0), 0.0))
        payoffs *= highest < (option.barrier / spots)[:, None]
    return payoffs
