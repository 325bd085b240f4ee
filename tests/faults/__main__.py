"""`python -m tests.faults`: many seeds, or the story of one. See docs/faults.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.faults.many import Outcome, Task, run_all

SHOWN_FAILURES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if no promise was broken, 1 if one was, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell the story of this seed")
    parser.add_argument("--crash", metavar="SITE:N", help="with --seed: no fault but the server's death there")
    parser.add_argument("--sweep", type=int, metavar="SEED", help="this seed, dying once at each place that it reaches")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds (default: 1000)")
    parser.add_argument("--base", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    console = Console()
    if options.seed is not None:
        return _tell(console, options.seed, _crash(options.crash))
    if options.sweep is not None:
        tasks = sweep(options.sweep)
    else:
        tasks = [Task(seed) for seed in range(options.base, options.base + options.seeds)]
    return _run(console, tasks, options.workers)


def sweep(seed: int) -> list[Task]:
    """The same workload again and again; each time the server dies at another place on its way, once."""
    (peaceful,) = run_all([Task(seed, crashes=())], 1)
    return [
        Task(seed, crashes=((site, number),))
        for site, count in sorted(peaceful.sites.items())
        for number in range(1, count + 1)
    ]


def _crash(text: str | None) -> tuple[tuple[str, int], ...] | None:
    if text is None:
        return None
    site, _, number = text.rpartition(":")
    return ((site, int(number)),) if site else ()


def _tell(console: Console, seed: int, crashes: tuple[tuple[str, int], ...] | None) -> int:
    (outcome,) = run_all([Task(seed, crashes, wants_story=True)], 1)
    console.print(outcome.story, markup=False, highlight=False, soft_wrap=True)
    console.print(f"seed {seed}: {outcome.runs} attempts ran, the server died {outcome.deaths} times")
    for text in outcome.violations:
        console.print(f"BROKEN  {text}", markup=False, highlight=False, soft_wrap=True)
    return 1 if outcome.violations else 0


def _run(console: Console, tasks: Sequence[Task], workers: int) -> int:
    begin = time.monotonic()
    done: list[Outcome] = []
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    outcomes = run_all(tasks, workers)
    is_interrupted = False
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(tasks))
        try:
            for outcome in outcomes:
                done.append(outcome)
                failed = sum(bool(each.violations) for each in done)
                rate = len(done) / (time.monotonic() - begin)
                progress.update(bar, advance=1, description=f"{rate:.1f} seeds/s, {failed} failed")
        except KeyboardInterrupt:
            is_interrupted = True
            outcomes.close()  # type: ignore[attr-defined]
    _summarise(console, done, time.monotonic() - begin)
    if is_interrupted:
        console.print("interrupted")
        return 130
    return 1 if any(each.violations for each in done) else 0


def _summarise(console: Console, done: Sequence[Outcome], seconds: float) -> None:
    failed = sorted((each for each in done if each.violations), key=lambda each: each.seed)
    runs, deaths = sum(each.runs for each in done), sum(each.deaths for each in done)
    console.print(
        f"{len(done)} simulations in {seconds:.1f} s ({len(done) / seconds:.1f} a second): {runs} attempts ran, the"
        f" server died {deaths} times, {len(failed)} simulations failed",
        soft_wrap=True,
    )
    for each in failed[:SHOWN_FAILURES]:
        again = f"make faults SEED={each.seed}"
        if each.crashes is not None:
            again += " CRASH=" + "".join(f"'{site}:{number}'" for site, number in each.crashes)
        console.print(f"{again}\n    {each.violations[0]}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        console.print(f"failed seeds: {' '.join(str(each.seed) for each in failed)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
