"""A server that nobody asks for anything: what CPU time and memory it takes, its supervisor included."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench import harness
from bench.figures import Figure
from bench.harness import Options

GOAL_CPU_PERCENT = 1.0
GOAL_RSS_MIB = 120.0
SETTLE_SECONDS = 2.0


def measure(options: Options) -> Iterator[Figure]:
    seconds, repeats = (5.0, 1) if options.quick else (20.0, 3)
    with harness.server() as yard:
        pids = [yard.pid]
        with contextlib.suppress(LookupError):
            pids.append(harness.supervisor_pid(yard))
        time.sleep(SETTLE_SECONDS)
        shares = []
        for _ in range(repeats):
            before = sum(map(harness.cpu_seconds, pids))
            time.sleep(seconds)
            shares.append(100 * (sum(map(harness.cpu_seconds, pids)) - before) / seconds)
        memory = [harness.rss_mib(pid) for pid in pids]
    yield Figure(
        "idle server, CPU",
        "%",
        tuple(shares),
        goal=GOAL_CPU_PERCENT,
        lower_is_better=True,
        note=f"of one core, over {seconds:g} s each",
    )
    yield Figure(
        "idle server, memory",
        "MiB",
        (sum(memory),),
        goal=GOAL_RSS_MIB,
        lower_is_better=True,
        note="resident: " + " + ".join(f"{each:.0f}" for each in memory) + " MiB, server and supervisor",
    )
