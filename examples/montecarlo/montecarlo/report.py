"""Put the shards' prices together: check them, value the book, measure its risk, write it down."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from montecarlo import blackscholes, risk
from montecarlo.market import Floats, Market
from montecarlo.portfolio import EUROPEAN, KINDS, Option
from montecarlo.pricing import Estimate
from montecarlo.risk import Risk

LIMIT = 4.0
"""Standard errors a European price may lie from Black-Scholes."""
SAMPLES_PER_KIND = 3
COLUMNS = (
    "id", "kind", "right", "index", "strike", "barrier", "days", "contracts",
    "price", "standard_error", "black_scholes", "z", "value",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One option of the report; prices in index points, the value in currency units."""

    option: Option
    price: float
    standard_error: float
    black_scholes: float | None
    """Of Europeans only."""
    z: float | None
    """How many standard errors the price lies above Black-Scholes."""

    @property
    def value(self) -> float:
        """Of the position: negative for options written."""
        return self.option.units * self.price


@dataclass(frozen=True)
class Summary:
    """The portfolio in a few numbers, currency units."""

    valuation_date: str
    options: int
    paths: int
    value: float
    value_standard_error: float
    risk: Risk
    worst_day: str
    """The last day of the scenario with the largest loss."""
    european: int
    largest_z: float
    failures: tuple[str, ...]
    """Ids of the European options whose price lies further than `LIMIT` from Black-Scholes."""


def lines(options: Sequence[Option], estimates: Mapping[str, Estimate], market: Market) -> list[Line]:
    """One line an option, Europeans with their closed-form price."""
    return [_line(option, estimates[option.id], market) for option in options]


def _line(option: Option, estimate: Estimate, market: Market) -> Line:
    closed_form = score = None
    if option.kind == EUROPEAN:
        closed_form = blackscholes.price(option, market)
        gap = estimate.price - closed_form
        # no spread among the paths says nothing about the error: such a price is not within any number of them
        score = gap / estimate.standard_error if estimate.standard_error > 0 else float("inf")
    return Line(option, estimate.price, estimate.standard_error, closed_form, score)


def scores(table: Sequence[Line]) -> Floats:
    """The z-scores of the European options."""
    return np.array([line.z for line in table if line.z is not None])


def summarise(table: Sequence[Line], market: Market, paths: int, profits: Floats, dates: Sequence[str]) -> Summary:
    """The portfolio's figures; `profits` by scenario, `dates` the days of the history, one more than scenarios."""
    measured = risk.measure(profits)
    errors = np.array([line.option.units * line.standard_error for line in table])
    european = scores(table)
    return Summary(
        valuation_date=market.valuation_date,
        options=len(table),
        paths=paths,
        value=float(sum(line.value for line in table)),
        # independent random numbers: variances add
        value_standard_error=float(np.sqrt(np.sum(errors**2))),
        risk=measured,
        worst_day=dates[measured.worst_scenario + 1],
        european=len(european),
        largest_z=float(np.abs(european).max(initial=0.0)),
        failures=tuple(line.option.id for line in table if line.z is not None and not abs(line.z) <= LIMIT),
    )


def to_csv(table: Sequence[Line]) -> bytes:
    """The whole table, one line an option."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in table:
        option = line.option
        barrier = "" if option.barrier is None else option.barrier
        terms = [option.id, option.kind, option.right, option.index, option.strike, barrier, option.days]
        known = [f"{line.black_scholes:.6f}", f"{line.z:.4f}"] if line.z is not None else ["", ""]
        figures = [f"{line.price:.6f}", f"{line.standard_error:.6f}", *known, f"{line.value:.2f}"]
        writer.writerow([*terms, option.contracts, *figures])
    return buffer.getvalue().encode()


def to_text(summary: Summary, table: Sequence[Line]) -> str:
    """What a person reads: the figures, then a few options of each kind, as Markdown."""
    measured = summary.risk
    verdict = f"{summary.european} of {summary.european} within {LIMIT:g} standard errors"
    if summary.failures:
        passed = summary.european - len(summary.failures)
        verdict = f"FAILED: only {passed} of {summary.european} within {LIMIT:g} standard errors"
    figures = [
        ("Valuation day", summary.valuation_date),
        ("Options", f"{summary.options:,} with {summary.paths:,} paths each"),
        ("Portfolio value", f"{summary.value:,.0f} ± {summary.value_standard_error:,.0f}"),
        ("99 % one-day value at risk", f"{measured.value_at_risk:,.0f}"),
        ("… 95 % confidence interval", f"{measured.interval_low:,.0f} to {measured.interval_high:,.0f}"),
        ("Expected shortfall beyond it", f"{measured.expected_shortfall:,.0f}"),
        ("Worst day in the history", f"{summary.worst_day}, loss {measured.worst_loss:,.0f}"),
        ("European against Black-Scholes", verdict),
        ("… furthest, in standard errors", f"{summary.largest_z:.2f}"),
    ]
    header = ("option", "kind", "right", "index", "strike", "barrier", "days", "price", "error", "Black-Scholes", "z")
    # headings part the tables where blank lines don't last: log services drop them
    return "\n".join(
        [
            "## The portfolio",
            "",
            _markdown(("figure", "value"), figures, left=2),
            "",
            "## Some of its options",
            "",
            _markdown(header, [_cells(line) for line in _samples(summary, table)], left=4),
        ]
    )


def _samples(summary: Summary, table: Sequence[Line]) -> list[Line]:
    """The first few lines of each kind; of Europeans that failed the check, the worst."""
    chosen: list[Line] = []
    for kind in KINDS:
        of_kind = [line for line in table if line.option.kind == kind]
        if kind == EUROPEAN and summary.failures:
            of_kind.sort(key=lambda line: -abs(line.z or 0.0))
        chosen += of_kind[:SAMPLES_PER_KIND]
    return chosen


def _cells(line: Line) -> tuple[str, ...]:
    option = line.option
    return (
        option.id,
        option.kind,
        option.right,
        option.index,
        f"{option.strike:,.0f}",
        "" if option.barrier is None else f"{option.barrier:,.0f}",
        str(option.days),
        f"{line.price:,.2f}",
        f"{line.standard_error:.2f}",
        "" if line.black_scholes is None else f"{line.black_scholes:,.2f}",
        "" if line.z is None else f"{line.z:+.2f}",
    )


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table, aligned as plain text too: the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def render(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * (width + 2) if column < left else "-" * (width + 1) + ":") for column, width in enumerate(widths)]
    return "\n".join([render(header), "|" + "|".join(rule) + "|", *(render(row) for row in rows)])
