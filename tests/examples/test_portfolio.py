from __future__ import annotations

from collections import Counter

import pytest
from montecarlo import portfolio
from montecarlo.portfolio import Option

from tests.examples.builders import a_market, an_option, flat_index

MARKET = a_market(flat_index(spot=2500.0), flat_index(spot=6600.0, name="ndx", volatility=0.3))


def test_the_book_is_the_same_every_time() -> None:
    assert portfolio.draw(MARKET, 60, 1) == portfolio.draw(MARKET, 60, 1)
    assert portfolio.draw(MARKET, 60, 1) != portfolio.draw(MARKET, 60, 2)


def test_the_book_is_varied() -> None:
    book = portfolio.draw(MARKET, 2100, 1)
    assert len({option.id for option in book}) == 2100
    assert Counter(option.kind for option in book) == dict.fromkeys(portfolio.KINDS, 700)
    assert {option.right for option in book} == {"call", "put"}
    assert {option.index for option in book} == {"spx", "ndx"}
    assert all(option.contracts != 0 and option.days >= 21 and option.strike > 0 for option in book)
    assert {option.contracts > 0 for option in book} == {True, False}


def test_barriers_lie_above_spot_and_strike() -> None:
    for option in portfolio.draw(MARKET, 900, 3):
        if option.kind == portfolio.UP_AND_OUT:
            assert option.barrier is not None
            assert option.barrier > max(option.strike, MARKET.indices[option.index].spot)
        else:
            assert option.barrier is None


def test_every_option_is_in_one_shard_and_the_work_is_even() -> None:
    book = portfolio.draw(MARKET, 500, 1)
    shards = portfolio.cut(book, 16)
    assert sorted(option.id for shard in shards for option in shard) == sorted(option.id for option in book)
    steps = [sum(len(option.observation_days()) for option in shard) for shard in shards]
    assert max(steps) < 1.1 * min(steps)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("european", [12]), ("asian", [2, 7, 12]), ("up-and-out", list(range(1, 13)))],
)
def test_observation_days_end_at_maturity(kind: str, expected: list[int]) -> None:
    assert an_option(kind=kind, days=12).observation_days().tolist() == expected


def test_json_round_trip() -> None:
    option = an_option(kind="up-and-out", barrier=130.0)
    assert Option.from_json(option.to_json()) == option
