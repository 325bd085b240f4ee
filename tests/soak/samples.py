"""What is measured every few seconds, and whether it grew from the first third of a run to the last."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from msgspec import Struct

SAMPLE_SECONDS = 5.0
OPERATIONS = ("SubmitJob", "DescribeJobs", "ListJobs", "GetLogEvents")
MIB = 1024 * 1024


class Sample(NamedTuple):
    """One line of the table. What could not be measured, as with a server that is down, is None."""

    minute: float
    submitted: int
    ended: int
    open: int
    retries: int
    server_mib: float | None
    supervisor_mib: float | None
    server_files: float | None
    supervisor_files: float | None
    database_mib: float
    logs_mib: float
    submit_p50_ms: float | None
    submit_p95_ms: float | None
    describe_p50_ms: float | None
    describe_p95_ms: float | None
    list_p50_ms: float | None
    list_p95_ms: float | None
    logs_p50_ms: float | None
    logs_p95_ms: float | None


class Bound(NamedTuple):
    """How much larger the median of the last third may be than that of the first: by a factor and an absolute part,
    which allows for the noise of small figures."""

    field: str
    name: str
    unit: str
    factor: float
    more: float


PAGE_CACHES_MIB = 100
"""What the database's connections may cache, which a server that was started a short while ago does not yet: in the
first third they are all young. Whether it grows beyond that is what `long_life` looks at."""
BOUNDS = (
    Bound("server_mib", "Memory of the server", "MiB", 1.15, PAGE_CACHES_MIB),
    Bound("supervisor_mib", "Memory of the supervisor", "MiB", 1.15, 5),
    Bound("server_files", "Open files of the server", "", 1.2, 10),
    Bound("supervisor_files", "Open files of the supervisor", "", 1.5, 40),
    Bound("submit_p50_ms", "SubmitJob, median", "ms", 1.5, 3),
    Bound("submit_p95_ms", "SubmitJob, 95 %", "ms", 1.5, 15),
    Bound("describe_p50_ms", "DescribeJobs of up to 100, median", "ms", 1.5, 3),
    Bound("describe_p95_ms", "DescribeJobs of up to 100, 95 %", "ms", 1.5, 15),
    Bound("list_p50_ms", "ListJobs, median", "ms", 1.5, 3),
    Bound("logs_p50_ms", "GetLogEvents, median", "ms", 1.5, 3),
)


class Trend(NamedTuple):
    """A bound and what became of it."""

    bound: Bound
    first: float
    last: float

    @property
    def limit(self) -> float:
        return self.first * self.bound.factor + self.bound.more

    @property
    def holds(self) -> bool:
        return self.last <= self.limit


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of all that was measured in both the first and the last third."""
    third = len(samples) // 3
    found = []
    for bound in BOUNDS:
        first, last = (_values(part, bound.field) for part in (samples[:third], samples[len(samples) - third :]))
        if first and last:
            found.append(Trend(bound, median(first), median(last)))
    return found


SETTLED_MINUTES = 4.0
"""Longer than finished jobs are kept: then the database has its size, and its caches have theirs."""
LEAST_MINUTES = 3.0
LONG_LIFE = Bound("server_mib", "Memory of the server in its last life", "MiB", 1.05, 5)


def long_life(samples: Sequence[Sample], born_minute: float) -> Trend | None:
    """The first and the second half of the server's last life, after what it takes to settle; None if that is too short
    to say anything."""
    settled = [sample for sample in samples if sample.minute >= born_minute + SETTLED_MINUTES]
    half = len(settled) // 2
    first, last = _values(settled[:half], LONG_LIFE.field), _values(settled[half:], LONG_LIFE.field)
    if not first or not last or settled[-1].minute - settled[0].minute < LEAST_MINUTES:
        return None
    return Trend(LONG_LIFE, median(first), median(last))


def _values(samples: Iterable[Sample], field: str) -> list[float]:
    values = (getattr(sample, field) for sample in samples)
    return [value for value in values if value is not None]


class Latencies:
    """What the requests since the last sample took."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}

    def note(self, operation: str, milliseconds: float) -> None:
        self._taken.setdefault(operation, []).append(milliseconds)

    def summary(self) -> list[float | None]:
        """Median and 95 % of each operation in turn; then begin anew."""
        found: list[float | None] = []
        for operation in OPERATIONS:
            taken = sorted(self._taken.get(operation, ()))
            found += [round(taken[int(len(taken) * share)], 2) for share in (0.5, 0.95)] if taken else [None, None]
        self._taken.clear()
        return found


class Process(Struct):
    """What a process takes of the machine; of one that isn't there, nothing is known."""

    pid: int | None

    @property
    def mib(self) -> float | None:
        """Resident memory; None too of one that has died and was not waited for yet."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return None
        return round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1) if pages else None

    @property
    def files(self) -> int | None:
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return None


def folder_mib(folder: Path, pattern: str) -> float:
    """The space that matching files take on the disk."""
    total = 0
    for path in folder.rglob(pattern):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return round(total / MIB, 2)


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Sample._fields)
        writer.writerows(samples)
