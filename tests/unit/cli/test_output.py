from __future__ import annotations

import io

import pytest
from rich.console import Console

from batchyard.cli import output


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (-5, "-"),
        (0, "0ms"),
        (999, "999ms"),
        (1_049, "1.0s"),
        (9_940, "9.9s"),
        (59_999, "59s"),
        (303_000, "5m 03s"),
        (7_500_000, "2h 05m"),
        (273_600_000, "3d 04h"),
    ],
)
def test_durations(milliseconds: int | None, text: str) -> None:
    assert output.format_duration(milliseconds) == text


def test_times_of_today_have_no_date() -> None:
    noon = 1_700_049_600_000
    assert len(output.format_time(noon, noon + 1000)) == len("12:00:00")
    assert len(output.format_time(noon, noon + 3 * 86_400_000)) == len("2023-11-15 12:00:00")
    assert output.format_time(None) == "-"


def test_a_plain_table_is_aligned_and_never_cut() -> None:
    lines = output.plain_table(("A", "B"), [("x" * 200, "y"), ("1", "two\nlines")])
    assert lines[1] == "x" * 200 + "  y"
    assert lines[2].split() == ["1", "two", "lines"]
    assert lines[2].index("two") == lines[0].index("B")


def test_text_of_users_is_no_markup() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, markup=False, highlight=False)
    console.print(output.rich_table(("NAME",), [("[red]x[/red] [/] :smile:",)]))
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "[red]x[/red] [/] :smile:" in file.getvalue()


def test_only_arns_are_shortened() -> None:
    assert output.last_part("arn:aws:batch:us-east-1:1:job-queue/q") == "q"
    assert output.last_part("a/b") == "a/b"
