"""Many seeds, on all processors, with the same outcome wherever they run."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import structlog
from msgspec import Struct

SHARED_MEMORY = Path("/dev/shm")
SEEDS_PER_TASK = 4


class Outcome(Struct):
    """What came of one seed. `story` is there when it was asked for or a promise was broken."""

    seed: int
    violations: list[str]
    runs: int
    """Attempts that ran."""
    deaths: int
    """How often a server died."""
    sites: dict[str, int]
    """How often each place was reached at which the server may die."""
    story: str | None = None
    crashes: tuple[tuple[str, int], ...] | None = None


class Task(Struct, frozen=True):
    """One simulation: a seed, and possibly crashes instead of the faults drawn from it."""

    seed: int
    crashes: tuple[tuple[str, int], ...] | None = None
    wants_story: bool = False


def run_all(tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """The outcomes, as they come. Closing the iterator gives up what hasn't begun."""
    with _pool(workers) as pool:
        waiting = list(tasks)
        chunks = [waiting[begin : begin + SEEDS_PER_TASK] for begin in range(0, len(waiting), SEEDS_PER_TASK)]
        futures: list[Future[list[Outcome]]] = [pool.submit(_run_some, chunk) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes in which sets of strings have one order, so that a seed is the same story in each of them."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def _prepare() -> None:
    # Ctrl-C at a terminal reaches every process; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@functools.cache
def _home() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where that is to be had: what a disk does wrong is simulated, and a real one is slow."""
    return tempfile.TemporaryDirectory(
        prefix="batchyard-faults-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    )


@functools.cache
def template() -> Path:
    """The database that all simulations of this process begin with."""
    from tests.faults.disk import make_template

    path = Path(_home().name) / "template.db"
    make_template(path)
    return path


def _run_some(tasks: list[Task]) -> list[Outcome]:
    return [run_one(task) for task in tasks]


def run_one(task: Task) -> Outcome:
    from tests.faults.oracle import violations
    from tests.faults.simulation import Options, simulate

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # what it logs is in the story
    record = simulate(task.seed, template(), Options(crashes=task.crashes))
    found = violations(record)
    return Outcome(
        task.seed,
        found,
        sum(entry.kind == "start" for entry in record.diary),
        record.deaths,
        dict(record.plan.reached),
        record.story.text() if found or task.wants_story else None,
        task.crashes,
    )
