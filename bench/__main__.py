"""`python -m bench`: run the measurements one after the other and show what they came to.

The exit code is 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from batchyard import __version__
from bench import array_run, array_submit, disk, docker_run, submit_rate
from bench.figures import Figure, print_figures
from bench.harness import Options

MEASUREMENTS: dict[str, Callable[[Options], Iterator[Figure]]] = {
    "disk": disk.measure,
    "submit-rate": submit_rate.measure,
    "array-submit": array_submit.measure,
    "array-run": array_run.measure,
    "docker-run": docker_run.measure,
}
"""In the order in which they run; each that needs a server starts its own."""


MOST_BUSY_SHARE = 0.05


def main() -> int:
    arguments = _parse()
    cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
    # Everything that is started from here, servers, load and jobs, shares these cores.
    os.sched_setaffinity(0, cores)
    # In a pipe there is no width to fit: then as wide as the table is.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    kind = "a quick look" if arguments.quick else "the full measurements"
    console.print(f"Batchyard {__version__}, Python {platform.python_version()}, {len(cores)} cores: {kind}")
    if (busy := _busy_share()) > MOST_BUSY_SHARE:
        console.print(f"[bold yellow]Other programs take {busy:.0%} of the CPUs now: the figures will be too low.[/]")
    options = Options(quick=arguments.quick)
    figures: list[Figure] = []
    for name, measure in MEASUREMENTS.items():
        if name in (arguments.only or MEASUREMENTS):
            with console.status(f"{name}…"):
                figures += measure(options)
    print_figures(console, figures)
    if arguments.json:
        _write_json(arguments.json, figures, len(cores), quick=arguments.quick)
    missed = [figure for figure in figures if figure.ratio is not None and figure.ratio < 1]
    return 1 if missed else 0


def _busy_share() -> float:
    """How much of the machine's CPU time others take, over half a second in which nothing is done here."""
    before = _cpu_ticks()
    time.sleep(0.5)
    busy, everything = (after - earlier for after, earlier in zip(_cpu_ticks(), before, strict=True))
    return busy / max(1, everything)


def _cpu_ticks() -> tuple[int, int]:
    """Ticks that all CPUs together were busy, and all ticks, since the machine started."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat of each: a look, not a measurement")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too, every value of them")
    parser.add_argument("--cores", type=int, default=2, help="use no more than so many CPU cores (default: 2)")
    return parser.parse_args()


def _write_json(path: Path, figures: list[Figure], cores: int, *, quick: bool) -> None:
    content = {
        "version": __version__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": cores,
        "quick": quick,
        "figures": [
            {**msgspec.to_builtins(figure), "median": figure.median, "ratio": figure.ratio} for figure in figures
        ],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
