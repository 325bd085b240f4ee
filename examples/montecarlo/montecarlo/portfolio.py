"""The book of options: what an option is, how the example's book is drawn, how it is cut into shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from montecarlo.market import Index, Market

EUROPEAN = "european"
ASIAN = "asian"
UP_AND_OUT = "up-and-out"
KINDS = (EUROPEAN, ASIAN, UP_AND_OUT)
FIXING_DAYS = 5
"""An Asian option's average takes every fifth trading day, counted back from its last."""
MULTIPLIER = 100
"""Currency units per index point and contract, as for listed index options."""


@dataclass(frozen=True)
class Option:
    """One line of the book."""

    id: str
    kind: str
    right: str
    """`call` or `put`."""
    index: str
    strike: float
    barrier: float | None
    """Only of an up-and-out option: it dies when a daily close is at or above this level."""
    days: int
    """Trading days to maturity."""
    contracts: int
    """Held when positive, written when negative."""

    @property
    def units(self) -> int:
        """Currency units per index point of the whole position."""
        return self.contracts * MULTIPLIER

    def observation_days(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The trading days, ascending and ending at maturity, on which the payoff looks at the index."""
        if self.kind == EUROPEAN:
            return np.array([self.days])
        if self.kind == ASIAN:
            return np.arange(self.days, 0, -FIXING_DAYS)[::-1]
        return np.arange(1, self.days + 1)

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Option:
        """The option that `to_json` wrote."""
        return cls(**document)


def draw(market: Market, count: int, seed: int) -> list[Option]:
    """A book of `count` options, the three kinds in turn; the same market, count and seed give the same book."""
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    names = sorted(market.indices)
    return [_draw_one(market, KINDS[number % 3], names, number, generator) for number in range(count)]


def _draw_one(market: Market, kind: str, names: Sequence[str], number: int, generator: np.random.Generator) -> Option:
    index = market.indices[names[int(generator.integers(len(names)))]]
    # one to twelve months; Europeans, which cost one step whatever their term, to two years
    days = int(generator.integers(21, 505 if kind == EUROPEAN else 253))
    right = "call" if generator.random() < 0.5 else "put"
    # in standard deviations from the forward, so that no option is so far out of the money that the paths
    # which pay are too few for a standard error to mean anything
    strike = _level(market, index, days, generator.uniform(-1.3, 1.3))
    barrier = None
    if kind == UP_AND_OUT:
        floor = max(strike, index.spot)
        barrier = max(_level(market, index, days, generator.uniform(0.8, 2.4)), _tick(1.06 * floor))
    # rather more held than written: a book that is worth something
    sign = 1 if generator.random() < 0.6 else -1
    contracts = sign * int(generator.integers(1, 51))
    prefix = {EUROPEAN: "EU", ASIAN: "AS", UP_AND_OUT: "UO"}[kind]
    return Option(
        id=f"{prefix}{number:05d}",
        kind=kind,
        right=right,
        index=index.name,
        strike=strike,
        barrier=barrier,
        days=days,
        contracts=contracts,
    )


def _level(market: Market, index: Index, days: int, deviations: float) -> float:
    variance = float(index.total_variance(days))
    forward = index.spot * float(np.exp(market.carry(index, days)))
    return _tick(forward * float(np.exp(deviations * np.sqrt(variance) - 0.5 * variance)))


def _tick(level: float) -> float:
    return 5.0 * round(level / 5.0)


def cut(options: Sequence[Option], shards: int) -> list[list[Option]]:
    """Deal the options into `shards` parts of about equal work: the costliest first, forth and back."""
    parts: list[list[Option]] = [[] for _ in range(shards)]
    by_cost = sorted(options, key=lambda option: (-len(option.observation_days()), option.id))
    for number, option in enumerate(by_cost):
        lap, place = divmod(number, shards)
        parts[place if lap % 2 == 0 else shards - 1 - place].append(option)
    return parts
