"""An array of `true` in containers, beside the same array on moto_server, whose Batch runs real containers too.

Both get the same daemon, one that is started for this, and the same image, made here from busybox; containers have no
network in both. Each runs as many at once as it does by itself: moto all children, Batchyard what its compute
environment has room for. They take turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from batchyard import testing
from bench import harness
from bench.docker_run import run_array
from bench.figures import Figure, Skipped, per_pair
from bench.harness import Options
from bench.peers import PeerMissing, moto
from bench.peers.moto import Moto
from tests.engine import dockerd
from tests.engine.dockerd import IMAGE

AT_ONCE = 4
LEAST_RATIO = 1.5
MOST_SECONDS = 900.0
POLL_SECONDS = 0.1
NAME = "an array of true in containers, beside moto_server"


def measure(options: Options) -> Iterator[Figure | Skipped]:
    size, repeats = (10, 1) if options.quick else (100, 3)
    if not dockerd.can_run():
        yield Skipped(NAME, "run as root, with docker.io and busybox-static installed")
        return
    ours, theirs = [], []
    try:
        with moto.daemon() as daemon:
            settings: dict[str, Any] = {"docker_host": daemon.host, "docker_network": "none", "overcommit": True}
            with testing.server("docker", **settings) as yard, moto.running(daemon.host, IMAGE) as peer:
                harness.make_queue(yard, "docker", vcpus=AT_ONCE)
                definition = harness.register(yard, "true", image=IMAGE)
                run_array(yard, definition, AT_ONCE)
                _run_on_moto(peer, AT_ONCE)
                for _ in range(repeats):
                    theirs.append(size / _run_on_moto(peer, size))
                    ours.append(size / run_array(yard, definition, size))
    except PeerMissing as missing:
        yield Skipped(NAME, str(missing))
        return
    yield Figure(f"{size} x true in Docker on moto_server", "children/s", tuple(theirs))
    yield Figure(f"{size} x true in Docker, {AT_ONCE} at once", "children/s", tuple(ours))
    yield Figure("an array in Docker: Batchyard / moto_server", "x", per_pair(ours, theirs), goal=LEAST_RATIO)


def _run_on_moto(peer: Moto, size: int) -> float:
    """How many seconds it takes until moto says that all children have SUCCEEDED."""
    began = time.perf_counter()
    job_id = peer.batch.submit_job(
        jobName="bench", jobQueue=peer.queue, jobDefinition=peer.definition, arrayProperties={"size": size}
    )["jobId"]
    while True:
        job = peer.batch.describe_jobs(jobs=[job_id])["jobs"][0]
        counts = job["arrayProperties"]["statusSummary"]
        seconds = time.perf_counter() - began
        if counts["SUCCEEDED"] == size:
            return seconds
        if counts["FAILED"] or seconds > MOST_SECONDS:
            raise RuntimeError(f"moto's array after {seconds:.0f} s: {counts}")
        time.sleep(POLL_SECONDS)
