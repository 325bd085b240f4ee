"""SubmitJob over HTTP: single jobs a second, each acknowledged after it is on disk. Beside it, moto_server, which keeps
them in memory.

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
from bench.figures import Figure, Skipped, per_pair, percentile
from bench.harness import Options
from bench.load import Tally
from bench.peers import PeerMissing, moto

GOAL_PER_SECOND = 2000.0
CLIENTS = 16


def measure(options: Options) -> Iterator[Figure | Skipped]:
    count, peer_count, repeats = (2000, 200, 1) if options.quick else (10_000, 1000, 5)
    missing: PeerMissing | None = None
    with harness.server() as yard:
        harness.make_queue(yard, "waiting", vcpus=1, places_jobs=False)
        definition = harness.register(yard, "true")
        body = {"jobName": "bench", "jobQueue": "waiting", "jobDefinition": definition}
        content = harness.request(yard.endpoint_url, "/v1/submitjob", body)
        harness.send_load(yard.endpoint_url, content, connections=CLIENTS, count=500)
        tallies: list[Tally] = []
        server_ms: list[float] = []
        peer_rates: list[float] = []
        for _ in range(repeats):
            cpu_before = harness.cpu_seconds(yard.pid)
            tallies.append(harness.send_load(yard.endpoint_url, content, connections=CLIENTS, count=count))
            server_ms.append(1000 * (harness.cpu_seconds(yard.pid) - cpu_before) / count)
            if missing is None:
                try:
                    peer_rates.append(_moto_rate(peer_count))
                except PeerMissing as exception:
                    missing = exception
        yield _rate(tallies, server_ms)
        yield _alone(yard, content, options)
        yard.kill()
        _check_stored(yard, count * repeats)
    if missing is not None:
        yield Skipped("SubmitJob of moto_server", str(missing))
        return
    rates = [count / tally.seconds for tally in tallies]
    yield Figure("moto_server, SubmitJob", "jobs/s", tuple(peer_rates), note="in memory, without containers")
    yield Figure("SubmitJob: Batchyard / moto without containers", "x", per_pair(rates, peer_rates))


def _moto_rate(count: int) -> float:
    """Jobs a second of a moto_server that is started for this."""
    with moto.running() as peer:
        body = {"jobName": "bench", "jobQueue": peer.queue, "jobDefinition": peer.definition}
        content = harness.request(peer.endpoint_url, "/v1/submitjob", body)
        harness.send_load(peer.endpoint_url, content, connections=CLIENTS, count=50)
        return count / harness.send_load(peer.endpoint_url, content, connections=CLIENTS, count=count).seconds


def _rate(tallies: list[Tally], server_ms: list[float]) -> Figure:
    latencies = [latency for tally in tallies for latency in tally.latencies_ms]
    return Figure(
        f"SubmitJob, {CLIENTS} clients",
        "jobs/s",
        tuple(len(tally.latencies_ms) / tally.seconds for tally in tallies),
        goal=GOAL_PER_SECOND,
        note=(
            f"answered in {median(latencies):.1f} ms (p99 {percentile(latencies, 99):.1f} ms); "
            f"{median(server_ms):.2f} ms of server CPU a job"
        ),
    )


def _alone(yard: Server, content: bytes, options: Options) -> Figure:
    """Without others there is nothing to share a commit with."""
    tally = harness.send_load(yard.endpoint_url, content, connections=1, count=300 if options.quick else 2000)
    return Figure(
        "SubmitJob, 1 client",
        "ms",
        tuple(tally.latencies_ms),
        lower_is_better=True,
        note=f"p99 {percentile(tally.latencies_ms, 99):.1f} ms",
    )


def _check_stored(yard: Server, acknowledged: int) -> None:
    """Raise AssertionError if the database of the killed server lacks a job that it had acknowledged."""
    connection = sqlite3.connect(yard.data_dir / "batchyard.db")
    stored = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    connection.close()
    assert stored >= acknowledged, f"{acknowledged} jobs were acknowledged and {stored} are stored"
