from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from montecarlo import blackscholes, figure, report
from montecarlo.pricing import Estimate
from montecarlo.report import Line, Summary

from tests.examples.builders import a_market, an_option

MARKET = a_market()
EUROPEANS = [an_option(id=f"EU{number}", strike=80.0 + number, contracts=number + 1) for number in range(5)]
OPTIONS = [*EUROPEANS, an_option(id="UO1", kind="up-and-out", barrier=130.0, contracts=-2)]
PROFITS = 1e6 * np.random.default_rng(1).standard_normal(300)
DATES = [f"day {number}" for number in range(301)]


def tabulate(gaps: dict[str, float]) -> tuple[list[Line], Summary]:
    """A table with prices `gaps` standard errors off; the standard error is 0.1."""
    estimates = {"UO1": Estimate(3.0, 0.2, np.zeros(5))}
    for option in EUROPEANS:
        price = blackscholes.price(option, MARKET) + 0.1 * gaps.get(option.id, 0.5)
        estimates[option.id] = Estimate(price, 0.1, np.zeros(5))
    table = report.lines(OPTIONS, estimates, MARKET)
    return table, report.summarise(table, MARKET, 1000, PROFITS, DATES)


def test_right_prices_pass() -> None:
    table, summary = tabulate({"EU3": -3.9})
    assert summary.failures == ()
    assert summary.european == 5
    assert summary.largest_z == pytest.approx(3.9)
    assert "5 of 5 within 4 standard errors" in report.to_text(summary, table)


@pytest.mark.parametrize("gap", [4.1, -4.1, math.inf])
def test_a_price_further_than_four_errors_off_fails(gap: float) -> None:
    _, summary = tabulate({"EU3": gap})
    assert summary.failures == ("EU3",)


def test_a_failure_is_shown_first() -> None:
    table, summary = tabulate({"EU4": 12.0})
    text = report.to_text(summary, table)
    assert "FAILED: only 4 of 5" in text
    assert next(line for line in text.splitlines() if "european" in line).startswith("| EU4")


def test_a_price_without_a_spread_fails() -> None:
    exact = Estimate(blackscholes.price(EUROPEANS[0], MARKET) + 1.0, 0.0, np.zeros(5))
    table = report.lines(EUROPEANS[:1], {"EU0": exact}, MARKET)
    assert report.summarise(table, MARKET, 4, PROFITS, DATES).failures == ("EU0",)


def test_values_add_up_and_errors_in_quadrature() -> None:
    table, summary = tabulate({})
    assert summary.value == pytest.approx(sum(line.price * 100 * line.option.contracts for line in table))
    assert summary.value_standard_error == pytest.approx(
        100 * math.sqrt(0.1**2 * (1 + 4 + 9 + 16 + 25) + (2 * 0.2) ** 2)
    )


def test_the_table_holds_every_option() -> None:
    table, _ = tabulate({})
    rows = list(csv.DictReader(io.StringIO(report.to_csv(table).decode())))
    assert [row["id"] for row in rows] == [option.id for option in OPTIONS]
    assert rows[-1]["black_scholes"] == rows[-1]["z"] == ""
    assert rows[0]["barrier"] == "" and rows[-1]["barrier"] == "130.0"
    assert float(rows[0]["z"]) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("worst", [3.0, math.inf])
def test_the_picture_is_a_png_and_the_same_every_time(worst: float) -> None:
    _, summary = tabulate({})
    scores = np.array([0.1, -0.5, 1.0, worst])
    draw = [figure.draw(scores, PROFITS, replace(summary.risk), 4.0, "a", "b") for _ in range(2)]
    assert draw[0] == draw[1]
    assert draw[0].startswith(b"\x89PNG")
