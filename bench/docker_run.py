"""An array of `true` in containers, two at once, beside bare `docker run` of the same image by as many workers.

Both get the same daemon, one that is started for this, and the same image, made here from busybox; containers have no
network in both. The two take turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from batchyard import testing
from batchyard.testing import Server
from bench import harness
from bench.figures import Figure, Skipped, per_pair
from bench.harness import Options
from tests.engine import dockerd
from tests.engine.dockerd import IMAGE, Dockerd

AT_ONCE = 2
MOST_OVERHEAD = 1.15


def measure(options: Options) -> Iterator[Figure | Skipped]:
    size, repeats = (10, 1) if options.quick else (100, 3)
    if not dockerd.can_run() or shutil.which("docker") is None:
        yield Skipped("an array of true in containers", "run as root, with docker.io and busybox-static installed")
        return
    with dockerd.running() as daemon:
        settings: dict[str, Any] = {"docker_host": daemon.host, "docker_network": "none", "overcommit": True}
        with testing.server("docker", **settings) as yard:
            harness.make_queue(yard, "docker", vcpus=AT_ONCE)
            definition = harness.register(yard, "true", image=IMAGE)
            run_array(yard, definition, AT_ONCE)
            bare, ours = [], []
            for _ in range(repeats):
                bare.append(1000 * _bare_seconds(daemon, size) / size)
                ours.append(1000 * run_array(yard, definition, size) / size)
        yield Figure(f"docker run, {AT_ONCE} at once", "ms/container", tuple(bare), lower_is_better=True)
        yield Figure(f"{size} x true in Docker, {AT_ONCE} at once", "ms/child", tuple(ours), lower_is_better=True)
        yield Figure(
            "time a container: Batchyard / docker run",
            "x",
            per_pair(ours, bare),
            goal=MOST_OVERHEAD,
            lower_is_better=True,
        )


def _bare_seconds(daemon: Dockerd, size: int) -> float:
    command = ["docker", "--host", daemon.host, "run", "--rm", "--network", "none", IMAGE, "true"]
    began = time.perf_counter()
    workers = ThreadPoolExecutor(AT_ONCE)
    try:
        for done in [workers.submit(subprocess.run, command, check=True) for _ in range(size)]:
            done.result()
    finally:
        # After a Ctrl-C those that have not begun never do.
        workers.shutdown(cancel_futures=True)
    return time.perf_counter() - began


def run_array(yard: Server, definition: str, size: int) -> float:
    began = time.perf_counter()
    job_id = yard.batch.submit_job(
        jobName="bench", jobQueue="docker", jobDefinition=definition, arrayProperties={"size": size}
    )["jobId"]
    job = yard.wait_for(job_id, 600)
    if job["status"] != "SUCCEEDED":
        raise RuntimeError(f"the array is {job['status']}: {job.get('statusReason')}")
    return time.perf_counter() - began
