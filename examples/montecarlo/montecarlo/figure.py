"""The report's picture: how good the prices are, and what the book may lose in a day."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from montecarlo.market import Floats
from montecarlo.risk import Risk

INK = "#16191f"
MUTED = "#5f6b7a"
BLUE = "#3b6fb6"
PALE = "#b7cbe6"
RED = "#c8362f"
MILLION = 1e6


def draw(scores: Floats, profits: Floats, risk: Risk, limit: float, scenarios_from: str, scenarios_to: str) -> bytes:
    """A PNG: z-scores of the European prices on the left, one-day profits on the right."""
    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": "#c6cdd6",
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    }
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, wspace=0.04)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(12.0, 5.0), dpi=120, facecolor="white", layout=layout)
        left, right = figure.subplots(1, 2)
        _draw_scores(left, scores, limit)
        _draw_profits(right, profits, risk, f"{len(profits):,} historical days, {scenarios_from} to {scenarios_to}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _frame(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=24)
    axes.text(0.0, 1.025, subtitle, transform=axes.transAxes, color=MUTED, fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eceff3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _draw_scores(axes: Axes, scores: Floats, limit: float) -> None:
    # a failed check may have scores anywhere; the outer bins then stand for "this far or further"
    shown = np.clip(np.nan_to_num(scores, posinf=99.0, neginf=-99.0), -limit - 0.75, limit + 0.75)
    width = 0.25
    axes.hist(shown, bins=list(np.arange(-limit - 1.0, limit + 1.01, width)), color=PALE, edgecolor="white")
    grid = np.linspace(-limit - 1.0, limit + 1.0, 400)
    normal = np.exp(-0.5 * grid**2) / np.sqrt(2.0 * np.pi)
    axes.plot(grid, normal * len(scores) * width, color=BLUE, linewidth=2.0, label="standard normal")
    for edge in (-limit, limit):
        axes.axvline(edge, color=RED, linewidth=1.2, linestyle=(0, (4, 3)), label="limit" if edge < 0 else None)
    axes.set_xlabel("z: (Monte Carlo less Black-Scholes) / standard error")
    axes.set_ylabel("options")
    axes.set_xlim(-limit - 1.0, limit + 1.0)
    axes.legend(frameon=False, loc="upper left", fontsize=9, bbox_to_anchor=(0.12, 1.0))
    worst = float(np.abs(scores).max())
    _frame(axes, "European prices against Black-Scholes", f"{len(scores):,} options, largest |z| = {worst:.2f}")


def _draw_profits(axes: Axes, profits: Floats, risk: Risk, subtitle: str) -> None:
    millions = profits / MILLION
    bins = np.linspace(millions.min(), millions.max(), 81)
    loss = -risk.value_at_risk / MILLION
    counts, _ = np.histogram(millions, bins)
    centres = 0.5 * (bins[1:] + bins[:-1])
    colours = [RED if centre < loss else PALE for centre in centres]
    axes.bar(centres, counts, width=bins[1] - bins[0], color=colours, edgecolor="white", linewidth=0.4)
    axes.margins(x=0.05)
    axes.axvline(loss, color=RED, linewidth=1.4)
    # in the corner that the longer tail leaves free
    free_right = millions.max() > -millions.min()
    axes.text(
        0.98 if free_right else 0.02,
        0.95,
        f"99 % value at risk\n{risk.value_at_risk / MILLION:,.2f} million",
        transform=axes.transAxes,
        color=RED,
        fontsize=13,
        fontweight="bold",
        linespacing=1.4,
        ha="right" if free_right else "left",
        va="top",
    )
    axes.text(
        0.98 if free_right else 0.02,
        0.80,
        f"mean loss of the days beyond: {risk.expected_shortfall / MILLION:,.2f} million",
        transform=axes.transAxes,
        color=MUTED,
        fontsize=9.5,
        ha="right" if free_right else "left",
        va="top",
    )
    axes.set_ylabel("days")
    axes.set_xlabel("one-day profit or loss of the portfolio, million")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    _frame(axes, "What one day can do to the portfolio", subtitle)
