"""The page says what was measured, where, and what was missed; and has words for every measurement."""

from __future__ import annotations

import tomllib

import pytest

from bench.__main__ import MEASUREMENTS
from bench.figures import Figure, Skipped
from bench.report import Machine, Measured, Report
from tools.performance_page import WORDS, render

MACHINE = Machine("A CPU", 2, "6.1", 8192, {"batchyard": "0.1.0"})
FAST = Figure("rate", "jobs/s", (2000.0, 3000.0, 2500.0), goal=2000.0, note="sixteen clients")
SLOW = Figure("latency", "ms", (30.0,), goal=20.0, lower_is_better=True)
WORDS_HERE = {
    "intro": "How it is measured.",
    "measurement": [
        {"name": "submit", "title": "Submitting", "how": "With care.", "costs": ["the disk", "HTTP", "SQL"]}
    ],
}


def page(*results: Figure | Skipped, busy_share: float = 0.0) -> str:
    measured = Measured("submit", busy_share, 60.0, results)
    return render(Report("2025-01-01T00:00:00+00:00", False, MACHINE, (measured,)), WORDS_HERE)


def test_a_goal_stands_with_its_spread_and_what_holds_it_back() -> None:
    assert "| rate | ≥ 2,000 jobs/s | 2,500 jobs/s | 2,000 / 2,500 / 3,000 | yes | the disk |" in page(FAST)


def test_a_missed_goal_is_told() -> None:
    assert "| latency | ≤ 20.0 ms | 30.0 ms | 30.0 / 30.0 / 30.0 | **no** | the disk |" in page(SLOW)


def test_a_goal_that_is_missed_by_a_hair_does_not_look_met() -> None:
    shown = page(Figure("ratio", "x", (0.3997,), goal=0.4))
    assert "| ratio | ≥ 0.40 x | 0.3997 x | 0.40 / 0.40 / 0.40 | **no** | the disk |" in shown
    assert "| ≥ 0.40 | 0.999 |" in shown


def test_what_was_skipped_is_told() -> None:
    assert "- Not measured: Slurm: not installed" in page(Skipped("Slurm", "not installed"))


@pytest.mark.parametrize(("share", "line"), [(0.0, "otherwise idle"), (0.8, "**The machine was not quiet**")])
def test_the_load_of_others_is_told(share: float, line: str) -> None:
    assert line in page(FAST, busy_share=share)


def test_the_committed_words_cover_every_measurement() -> None:
    words = tomllib.loads(WORDS.read_text())
    assert [each["name"] for each in words["measurement"]] == list(MEASUREMENTS)
    assert all(len(each["costs"]) in (0, 3) for each in words["measurement"])
