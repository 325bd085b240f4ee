"""How things look: tables, panels and colours on a terminal; plain, complete lines in a pipe; JSON on request."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

# What is printed comes from users and jobs: nothing in it is markup. Lines are not folded, so that they can be copied
# and grepped; tables and panels are.
out = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
err = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, stderr=True)

NOTHING = "-"
"""Stands in a table where there is no value."""
ENDED = ("SUCCEEDED", "FAILED")
STATUS_STYLES = {
    "SUBMITTED": "dim",
    "PENDING": "dim yellow",
    "RUNNABLE": "yellow",
    "STARTING": "cyan",
    "RUNNING": "bold cyan",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "VALID": "green",
    "INVALID": "bold red",
    "DELETING": "red",
    "ENABLED": "green",
    "DISABLED": "yellow",
    "ACTIVE": "green",
    "INACTIVE": "dim",
}
Rows = Sequence[Sequence[str]]
Fields = Sequence[tuple[str, str]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def print_json(value: Any) -> None:
    """`value` as indented JSON on stdout; the response's HTTP metadata is left out."""
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key != "ResponseMetadata"}
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str), flush=True)


def print_table(columns: Sequence[str], rows: Rows, *, when_empty: str) -> None:
    """A table on stdout: fitted to a terminal, or aligned and never cut in a pipe."""
    if not rows:
        err.print(when_empty)
    elif out.is_terminal:
        out.print(rich_table(columns, rows), soft_wrap=False)
    else:
        print("\n".join(plain_table(columns, rows)), flush=True)


def rich_table(columns: Sequence[str], rows: Rows) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        # The last column is free text; it alone may be folded when the terminal is narrow.
        table.add_column(column, no_wrap=number < len(columns) - 1, overflow="fold")
    for row in rows:
        table.add_row(*(styled(cell) for cell in row))
    return table


def plain_table(columns: Sequence[str], rows: Rows) -> list[str]:
    lines = [[cell.replace("\n", " ") for cell in line] for line in (columns, *rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def print_fields(title: str, fields: Fields) -> None:
    """Names and values: a panel on a terminal, `name: value` lines in a pipe."""
    if not out.is_terminal:
        width = max(len(name) for name, _ in fields) + 1
        print("\n".join([title, *(f"  {name + ':':{width}} {value}" for name, value in fields)]), flush=True)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        grid.add_row(Text(name), styled(value))
    out.print(Panel(grid, title=Text(title, style="bold"), title_align="left", expand=False), soft_wrap=False)


def styled(value: str) -> Text:
    """`value` in the colour of the status that it is, or begins with."""
    style = STATUS_STYLES.get(value.partition(" ")[0], "")
    return Text(value, style=style)


def format_time(at_ms: int | None, reference_ms: int | None = None) -> str:
    """Local time, without the date when it is today's."""
    if not at_ms:
        return NOTHING
    at = datetime.fromtimestamp(at_ms / 1000).astimezone()
    today = datetime.fromtimestamp((reference_ms or now_ms()) / 1000).astimezone().date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d %H:%M:%S")


def format_duration(duration_ms: int | None) -> str:
    """About three digits of a length of time: 35ms, 4.2s, 42s, 5m 03s, 2h 05m, 3d 04h."""
    if duration_ms is None or duration_ms < 0:
        return NOTHING
    if duration_ms < 1000:
        return f"{duration_ms}ms"
    seconds = duration_ms / 1000
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m {rest:02}s"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02}h" if days else f"{hours}h {minutes:02}m"


def run_time_ms(job: dict[str, Any], reference_ms: int | None = None) -> int | None:
    """How long a job ran, or has been running by now; None when it never started."""
    started = job.get("startedAt")
    if not started:
        return None
    return int((job.get("stoppedAt") or reference_ms or now_ms()) - started)


def last_part(arn: str) -> str:
    """`arn:…:job-queue/default` → `default`; anything else stays as it is."""
    return arn.rpartition("/")[2] if arn.startswith("arn:") else arn


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
