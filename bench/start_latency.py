"""From SubmitJob to the job's own first act, on a server that has nothing else to do: single jobs, one after another.

The job is a shell that writes a line into a named pipe which the measurement has open: its arrival is the job's own
word that it runs, and both times are read from one clock. So the figure holds the request, the commit, the step, the
spawn, and the shell's own start. `startedAt` of the same jobs, which the supervisor stamps at the spawn, stands beside.
"""

from __future__ import annotations

import contextlib
import os
import select
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from batchyard.testing import Server
from bench import harness
from bench.figures import Figure, percentile
from bench.harness import Options

GOAL_P50_MS = 10.0
GOAL_P99_MS = 30.0
LONGEST_SECONDS = 30.0
REST_SECONDS = 0.05
"""Between two jobs, so that each meets an idle server."""


def measure(options: Options) -> Iterator[Figure]:
    count = 40 if options.quick else 200
    with (
        harness.server() as yard,
        tempfile.TemporaryDirectory(prefix="batchyard-bench-") as folder,
        _pipe(Path(folder) / "started") as pipe,
    ):
        harness.make_queue(yard, "idle", vcpus=2)
        definition = harness.register(yard, "/bin/sh", "-c", f"echo > {folder}/started")
        _latencies(yard, pipe, definition, 5)
        latencies, stamped = _latencies(yard, pipe, definition, count)
    note = (
        "until the job's own first act; until startedAt, as the supervisor stamps it (whole ms): "
        f"p50 {median(stamped):.1f}, p99 {percentile(stamped, 99):.1f}"
    )
    name = "SubmitJob until the job runs"
    yield Figure(f"{name}, p50", "ms", latencies, goal=GOAL_P50_MS, lower_is_better=True, note=note)
    yield Figure(f"{name}, p99", "ms", latencies, goal=GOAL_P99_MS, lower_is_better=True, judged_at=99)


@contextlib.contextmanager
def _pipe(path: Path) -> Iterator[int]:
    os.mkfifo(path)
    # Open for both: a pipe whose last writer has left would be at its end.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _latencies(yard: Server, pipe: int, definition: str, count: int) -> tuple[tuple[float, ...], list[float]]:
    """Milliseconds until each job wrote into the pipe, and until its startedAt."""
    sent: dict[str, float] = {}
    latencies = []
    body = {"jobName": "bench", "jobQueue": "idle", "jobDefinition": definition}
    with harness.caller(yard) as caller:
        for _ in range(count):
            sent_at, began = 1000 * time.time(), time.perf_counter()
            answer = caller.call("/v1/submitjob", body)
            # The job may have been quicker than the answer: then the line waits, and the answer was the bound.
            if not select.select([pipe], [], [], LONGEST_SECONDS)[0]:
                raise TimeoutError(f"a job did not start within {LONGEST_SECONDS:g} s of its submission")
            latencies.append(1000 * (time.perf_counter() - began))
            os.read(pipe, 4096)
            job_id = msgspec.json.decode(answer)["jobId"]
            sent[job_id] = sent_at
            time.sleep(REST_SECONDS)
            _until_succeeded(caller, job_id)
        stamped = []
        for job_id, sent_at in sent.items():
            job = msgspec.json.decode(caller.call("/v1/describejobs", {"jobs": [job_id]}))["jobs"][0]
            stamped.append(job["startedAt"] - sent_at)
    return tuple(latencies), stamped


def _until_succeeded(caller: harness.Caller, job_id: str) -> None:
    harness.until(lambda: caller.status_of(job_id) == "SUCCEEDED", f"{job_id} is SUCCEEDED")
