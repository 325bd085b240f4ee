"""What a measurement comes to, and how it is shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Figure(Struct, frozen=True, tag="figure"):
    """One number that was measured, as often as it was measured."""

    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    lower_is_better: bool = False
    judged_at: int = 50
    """The percentile of the values that the goal is about; 50 is the median."""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def judged(self) -> float:
        """What is held against the goal."""
        return self.median if self.judged_at == 50 else percentile(self.values, self.judged_at)

    @property
    def ratio(self) -> float | None:
        """How well the goal is met: 1 and more is met, 2 is twice as good as asked for."""
        if self.goal is None:
            return None
        return self.goal / max(self.judged, 1e-9) if self.lower_is_better else self.judged / self.goal


class Skipped(Struct, frozen=True, tag="skipped"):
    """What could not be measured on this machine, and what it would take."""

    name: str
    reason: str


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def per_pair(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """What was measured here as multiples of what was measured right beside it."""
    return tuple(our / their for our, their in zip(ours, theirs, strict=True))


def print_figures(console: Console, results: Sequence[Figure | Skipped]) -> None:
    """All figures as one table, those that miss their goal in red; what there is to say about each below."""
    table = Table(title="Batchyard, measured", title_style="bold", title_justify="left")
    table.add_column("", min_width=24)
    for heading in ("median", "min", "max", "times", "goal", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    figures = [result for result in results if isinstance(result, Figure)]
    for figure in figures:
        table.add_row(
            figure.name,
            f"[bold]{number(figure.median)}[/] {figure.unit}",
            number(min(figure.values)),
            number(max(figure.values)),
            str(len(figure.values)),
            goal_text(figure),
            _ratio(figure),
        )
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"  {figure.name}: [dim]{figure.note}[/]", soft_wrap=True)
    for result in results:
        if isinstance(result, Skipped):
            console.print(f"  [yellow]Not measured: {result.name}[/]: {result.reason}", soft_wrap=True)


def goal_text(figure: Figure) -> str:
    """The goal, and which percentile it is about if that isn't the median."""
    if figure.goal is None:
        return ""
    of = "" if figure.judged_at == 50 else f"p{figure.judged_at} "
    return f"{of}{'≤' if figure.lower_is_better else '≥'} {number(figure.goal)}"


def number(value: float) -> str:
    """Three digits that say something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def judged_text(figure: Figure) -> str:
    """What is held against the goal; with a digit more where a goal that is missed would look as if it were met."""
    text = number(figure.judged)
    if figure.goal is None or figure.ratio is None or figure.ratio >= 1 or text != number(figure.goal):
        return text
    return f"{figure.judged:.4g}"


def ratio_text(figure: Figure) -> str:
    """How well the goal is met; never 1.00 where it is missed."""
    if figure.ratio is None:
        return ""
    text = f"{figure.ratio:.2f}"
    return f"{math.floor(figure.ratio * 1000) / 1000:.3f}" if figure.ratio < 1 and text == "1.00" else text


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    return f"[{'green' if figure.ratio >= 1 else 'bold red'}]{ratio_text(figure)}[/]"
