"""What a measurement comes to, and how it is shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Figure(Struct, frozen=True):
    """One number that was measured, as often as it was measured."""

    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    lower_is_better: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """How well the goal is met: 1 and more is met, 2 is twice as good as asked for."""
        if self.goal is None:
            return None
        return self.goal / self.median if self.lower_is_better else self.median / self.goal


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def print_figures(console: Console, figures: Sequence[Figure]) -> None:
    """All figures as one table, those that miss their goal in red; what there is to say about each below."""
    table = Table(title="Batchyard, measured", title_style="bold", title_justify="left")
    table.add_column("", min_width=24)
    for heading in ("median", "min", "max", "times", "goal", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.name,
            f"[bold]{_number(figure.median)}[/] {figure.unit}",
            _number(min(figure.values)),
            _number(max(figure.values)),
            str(len(figure.values)),
            "" if figure.goal is None else f"{'≤' if figure.lower_is_better else '≥'} {_number(figure.goal)}",
            _ratio(figure),
        )
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"  {figure.name}: [dim]{figure.note}[/]", soft_wrap=True)


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    return f"[{'green' if figure.ratio >= 1 else 'bold red'}]{figure.ratio:.2f}[/]"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
