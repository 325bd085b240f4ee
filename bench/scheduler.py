"""The scheduler alone, with a million jobs in its queue: what memory they take, and whether it decides as fast in the
middle of them as at the beginning.

Two processes hold the same queue. One runs half of it first; then both run short stretches in turns, so that a machine
that drifts drifts for both.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from bench import children
from bench.figures import Figure, per_pair
from bench.harness import ROOT, Options

GOAL_SINGLES_MIB = 1024.0
GOAL_ARRAYS_MIB = 200.0
GOAL_EVENNESS = 0.9
ARRAY_SIZE = 10_000


def measure(options: Options) -> Iterator[Figure]:
    jobs = 100_000 if options.quick else 1_000_000
    arrays = f"arrays {jobs // ARRAY_SIZE} {ARRAY_SIZE}"
    yield from _measure(f"{jobs:,} single jobs", f"singles {jobs}", jobs, GOAL_SINGLES_MIB, options)
    yield from _measure(f"{jobs:,} array children", arrays, jobs, GOAL_ARRAYS_MIB, options)


def _measure(name: str, fill: str, jobs: int, goal_mib: float, options: Options) -> Iterator[Figure]:
    stretch, repeats = (1000, 5) if options.quick else (4000, 21)
    with probe() as first, probe() as middle:
        memory = (float(children.ask(first, fill)), float(children.ask(middle, fill)))
        children.ask(middle, f"run {jobs // 2}")
        children.ask(first, f"run {stretch}")
        early, late = [], []
        for _ in range(repeats):
            early.append(float(children.ask(first, f"run {stretch}")))
            late.append(float(children.ask(middle, f"run {stretch}")))
    yield Figure(
        f"{name} in the scheduler", "MiB", memory, goal=goal_mib, lower_is_better=True, note="added to the process"
    )
    yield Figure(
        f"{name}: first decisions",
        "jobs/s",
        tuple(early),
        note=f"placed, started and ended, in virtual time; {stretch:,} jobs at a time",
    )
    yield Figure(
        f"{name}: pace half way / at first",
        "x",
        per_pair(late, early),
        goal=GOAL_EVENNESS,
        note=f"{median(late):,.0f} jobs/s after {jobs // 2:,} jobs",
    )


@contextlib.contextmanager
def probe() -> Iterator[subprocess.Popen[bytes]]:
    """The core in a fresh process (`bench.probe`)."""
    with children.running(
        *(sys.executable, "-m", "bench.probe"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        yield process
