"""`python -m bench`: run the measurements one after the other and show what they came to.

The exit code is 1 when a goal is missed, and 130 after a Ctrl-C, when everything that was started has been ended.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec
from rich.console import Console

from bench import (
    array_run,
    array_submit,
    disk,
    docker_run,
    finished_jobs,
    graph,
    idle,
    machine,
    moto_containers,
    moto_submit,
    restart,
    scheduler,
    start_latency,
    submit_rate,
)
from bench.figures import Figure, Skipped, number, print_figures
from bench.harness import Options
from bench.report import Measured, Report

MEASUREMENTS: dict[str, Callable[[Options], Iterator[Figure | Skipped] | Iterator[Figure]]] = {
    "disk": disk.measure,
    "idle": idle.measure,
    "start-latency": start_latency.measure,
    "array-run": array_run.measure,
    "submit-rate": submit_rate.measure,
    "array-submit": array_submit.measure,
    "finished-jobs": finished_jobs.measure,
    "scheduler": scheduler.measure,
    "restart": restart.measure,
    "graph": graph.measure,
    "docker-run": docker_run.measure,
    "moto-containers": moto_containers.measure,
    "moto-submit": moto_submit.measure,
}
"""In the order in which they run; each that needs a server starts its own."""

MOST_BUSY_SHARE = 0.05


def main() -> int:
    arguments = _parse()
    cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
    # Everything that is started from here, servers, peers, load and jobs, shares these cores.
    os.sched_setaffinity(0, cores)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _interrupt)
    # In a pipe there is no width to fit: then as wide as the table is.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    about = machine.describe(len(cores))
    kind = "a quick look" if arguments.quick else "the full measurements"
    console.print(f"Batchyard {about.versions['batchyard']}, {about.cpu}, {len(cores)} cores: {kind}")
    measured: list[Measured] = []
    try:
        for name in MEASUREMENTS:
            if name in (arguments.only or MEASUREMENTS):
                measured.append(_measure(console, name, Options(quick=arguments.quick)))
                if arguments.json:
                    _write(arguments.json, measured, len(cores), quick=arguments.quick)
    except KeyboardInterrupt:
        console.print("Broken off; everything that was started has been ended.")
        return 130
    results = [result for each in measured for result in each.results]
    print_figures(console, results)
    missed = [each for each in results if isinstance(each, Figure) and each.ratio is not None and each.ratio < 1]
    return 1 if missed else 0


def _measure(console: Console, name: str, options: Options) -> Measured:
    """One measurement, each figure shown as it comes."""
    busy = machine.busy_share()
    load = f"; other programs take {busy:.0%} of the CPUs, so figures will be too low" if busy > MOST_BUSY_SHARE else ""
    console.print(f"[bold]{name}[/]{load}")
    began = time.monotonic()
    results: list[Figure | Skipped] = []
    with console.status(f"{name}…"):
        for result in MEASUREMENTS[name](options):
            results.append(result)
            if isinstance(result, Figure):
                console.print(f"  {result.name}: {number(result.judged)} {result.unit}")
            else:
                console.print(f"  [yellow]not measured: {result.name}[/]: {result.reason}", soft_wrap=True)
    seconds = time.monotonic() - began
    console.print(f"  [dim]{seconds:.0f} s[/]")
    return Measured(name, busy, seconds, tuple(results))


def _write(path: Path, measured: list[Measured], cores: int, *, quick: bool) -> None:
    """All that there is so far: a run that is broken off keeps what it has measured."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    # Described anew, because peers may have been installed on the way.
    report = Report(now, quick, machine.describe(cores), tuple(measured))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first Ctrl-C or SIGTERM ends everything in order; a second one must not keep it from that."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat of each: a look, not a measurement")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too, every value of them")
    parser.add_argument("--cores", type=int, default=2, help="use no more than so many CPU cores (default: 2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
