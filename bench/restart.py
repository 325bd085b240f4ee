"""A server is killed with a million jobs in its queue: how long from its start until the first of them runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from batchyard.testing import Server
from bench import harness, many_jobs
from bench.figures import Figure
from bench.harness import Options
from bench.many_jobs import Row

GOAL_SECONDS = 15.0
LONGEST_SECONDS = 300.0
MEMORY = b'"memory_mib":16'


def measure(options: Options) -> Iterator[Figure]:
    count, repeats = (100_000, 1) if options.quick else (1_000_000, 3)
    with harness.server(overcommit=True) as yard:
        harness.make_queue(yard, "future", vcpus=2)
        definition = harness.register(yard, "true")
        job_id = yard.batch.submit_job(jobName="bench", jobQueue="future", jobDefinition=definition)["jobId"]
        yard.wait_for(job_id, status="SUCCEEDED")
        yard.kill()
        many_jobs.copy_job(yard.data_dir, job_id, count, _queued, with_stream=False)
        seconds, memory = [], []
        for _ in range(repeats):
            taken, mib = _restart(yard)
            seconds.append(taken)
            memory.append(mib)
            yard.kill()
    yield Figure(
        f"restart with {count:,} queued",
        "s",
        tuple(seconds),
        goal=GOAL_SECONDS,
        lower_is_better=True,
        note="from the start of the process until startedAt of the first job; every job needs other resources",
    )
    yield Figure("the server then, memory", "MiB", tuple(memory), lower_is_better=True, note="resident")


def _queued(row: Row, number: int) -> None:
    """As if it had never run, with a definition and terms that no other copy has."""
    row["status"] = "RUNNABLE"
    for name in ("status_reason", "started_at_ms", "stopped_at_ms", "attempts"):
        row[name] = None
    row["definition"] = f"bench{number}:1"
    assert MEMORY in row["terms"], f"no {MEMORY!r} in the terms: {row['terms']!r}"
    row["terms"] = row["terms"].replace(MEMORY, b'"memory_mib":%d' % (16 + number))


def _restart(yard: Server) -> tuple[float, float]:
    """Start the killed server; seconds until its first job started, and its memory then in MiB."""
    first = many_jobs.first_runnable(yard.data_dir)
    began = time.time()
    yard.start()
    deadline = time.monotonic() + LONGEST_SECONDS
    with harness.caller(yard) as caller:
        while True:
            job = msgspec.json.decode(caller.call("/v1/describejobs", {"jobs": [first]}))["jobs"][0]
            if "startedAt" in job:
                return job["startedAt"] / 1000 - began, harness.rss_mib(yard.pid)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{first} is {job['status']} after {LONGEST_SECONDS:g} s")
            time.sleep(0.05)
