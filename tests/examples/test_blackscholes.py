from __future__ import annotations

import math

import pytest
from montecarlo import blackscholes

from tests.examples.builders import a_market, an_option, flat_index


@pytest.mark.parametrize(
    ("right", "strike", "years", "rate", "dividend_yield", "volatility", "expected"),
    [
        # Hull, Options, Futures and Other Derivatives, example 15.6: a stock at 42
        ("call", 40.0, 0.5, 0.10, 0.0, 0.20, 4.76),
        ("put", 40.0, 0.5, 0.10, 0.0, 0.20, 0.81),
    ],
)
def test_textbook_values(
    right: str, strike: float, years: float, rate: float, dividend_yield: float, volatility: float, expected: float
) -> None:
    price = blackscholes.black_scholes(
        right, 42.0, strike, (rate - dividend_yield) * years, math.exp(-rate * years), volatility**2 * years
    )
    assert price == pytest.approx(expected, abs=0.005)


def test_index_option_of_the_textbook() -> None:
    # Hull, example 17.1: index at 930, two months, dividend yield 3 %
    price = blackscholes.black_scholes("call", 930.0, 900.0, 0.05 * 2 / 12, math.exp(-0.08 * 2 / 12), 0.04 * 2 / 12)
    assert price == pytest.approx(51.83, abs=0.005)


@pytest.mark.parametrize("strike", [60.0, 100.0, 145.0])
def test_put_call_parity(strike: float) -> None:
    market = a_market(flat_index(dividend_yield=0.01))
    call = blackscholes.price(an_option(strike=strike), market)
    put = blackscholes.price(an_option(strike=strike, right="put"), market)
    assert call - put == pytest.approx(100.0 * math.exp(-0.01) - strike * math.exp(-0.03), abs=1e-10)


def test_no_closed_form_for_an_asian() -> None:
    with pytest.raises(ValueError, match="no Black-Scholes price"):
        blackscholes.price(an_option(kind="asian"), a_market())
