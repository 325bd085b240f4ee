"""SubmitJob over HTTP: single jobs a second, each acknowledged after it is on disk.

The jobs go to a queue whose compute environment is DISABLED, so that they only queue: the scheduler takes each in and
stores it as RUNNABLE, and nothing runs. At the end the server is killed, and its database must hold every job that was
acknowledged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from statistics import median

from batchyard.testing import Server
from bench import harness
from bench.figures import Figure, percentile
from bench.harness import Options
from bench.load import Tally

GOAL_PER_SECOND = 1000.0


def measure(options: Options) -> Iterator[Figure]:
    seconds, repeats = (1.0, 1) if options.quick else (4.0, 5)
    with harness.server() as yard:
        harness.make_queue(yard, "waiting", vcpus=1, places_jobs=False)
        definition = harness.register(yard, "true")
        content = harness.request(
            yard, "/v1/submitjob", {"jobName": "bench", "jobQueue": "waiting", "jobDefinition": definition}
        )
        acknowledged = 0
        for connections in (1, 16):
            harness.send_load(yard, content, connections=connections, seconds=0.3)
            tallies, server_ms = [], []
            for _ in range(repeats):
                cpu_before = harness.cpu_seconds(yard.pid)
                tallies.append(harness.send_load(yard, content, connections=connections, seconds=seconds))
                taken = harness.cpu_seconds(yard.pid) - cpu_before
                server_ms.append(1000 * taken / len(tallies[-1].latencies_ms))
            yield _rate(connections, tallies, server_ms)
            acknowledged += sum(len(tally.latencies_ms) for tally in tallies)
        yard.kill()
        _check_stored(yard, acknowledged)


def _rate(connections: int, tallies: list[Tally], server_ms: list[float]) -> Figure:
    latencies = [latency for tally in tallies for latency in tally.latencies_ms]
    clients = "1 client" if connections == 1 else f"{connections} clients"
    return Figure(
        f"SubmitJob, {clients}",
        "jobs/s",
        tuple(len(tally.latencies_ms) / tally.seconds for tally in tallies),
        goal=GOAL_PER_SECOND if connections == 16 else None,
        note=(
            f"answered in {median(latencies):.1f} ms (p99 {percentile(latencies, 99):.1f} ms); "
            f"{median(server_ms):.2f} ms of server CPU a job"
        ),
    )


def _check_stored(yard: Server, acknowledged: int) -> None:
    """Raise AssertionError if the database of the killed server lacks a job that it had acknowledged."""
    connection = sqlite3.connect(yard.data_dir / "batchyard.db")
    stored = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    connection.close()
    assert stored >= acknowledged, f"{acknowledged} jobs were acknowledged and {stored} are stored"
