"""An array of 2,000 children that each run `true`: from SubmitJob until all are SUCCEEDED on disk, with their attempts
and log streams. Beside it, in the same run, what starts as many processes and keeps nothing.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import msgspec

from batchyard.testing import LOG_GROUP, Server
from bench import harness
from bench.figures import Figure
from bench.harness import Options

GOAL_PER_SECOND = 300.0
AT_ONCE = 2
POLL_SECONDS = 0.05


def measure(options: Options) -> Iterator[Figure]:
    size, repeats = (2000, 1) if options.quick else (10_000, 5)
    with harness.server(overcommit=True) as yard:
        definition = harness.register(yard, "true")
        for vcpus in (AT_ONCE, 16):
            harness.make_queue(yard, f"run-{vcpus}", vcpus=vcpus)
            _run_array(yard, definition, f"run-{vcpus}", 100)
        pairs = _bare_rates(size, repeats)
        yield pairs[0]
        yield pairs[1]
        for vcpus in (AT_ONCE, 16):
            yield _array_rate(yard, definition, vcpus, size, repeats, pairs)


def _array_rate(
    yard: Server, definition: str, vcpus: int, size: int, repeats: int, bare: tuple[Figure, Figure]
) -> Figure:
    pids = {"server": yard.pid, "supervisor": harness.supervisor_pid(yard)}
    rates: list[float] = []
    cpu_ms = dict.fromkeys(pids, 0.0)
    for _ in range(repeats):
        before = {name: harness.cpu_seconds(pid) for name, pid in pids.items()}
        seconds, job_id = _run_array(yard, definition, f"run-{vcpus}", size)
        for name, pid in pids.items():
            cpu_ms[name] += 1000 * (harness.cpu_seconds(pid) - before[name]) / (size * repeats)
        rates.append(size / seconds)
        _check(yard, job_id, size)
    cpu = ", ".join(f"{value:.2f} ms {name}" for name, value in cpu_ms.items())
    ratios = ", ".join(f"{median(rates) / figure.median:.2f} of {figure.name}" for figure in bare)
    return Figure(
        f"{size:,} x true, {vcpus} at once",
        "children/s",
        tuple(rates),
        goal=GOAL_PER_SECOND,
        note=f"CPU a child: {cpu}; {ratios}",
    )


def _run_array(yard: Server, definition: str, queue: str, size: int) -> tuple[float, str]:
    """Run one array to its end; the seconds and its id. The parent is SUCCEEDED in the commit of its last child."""
    began = time.perf_counter()
    job_id = yard.batch.submit_job(
        jobName="bench", jobQueue=queue, jobDefinition=definition, arrayProperties={"size": size}
    )["jobId"]
    _wait_for(yard, job_id)
    return time.perf_counter() - began, job_id


def _wait_for(yard: Server, job_id: str) -> None:
    """Ask for the parent's status in a way that takes little CPU."""
    connection = http.client.HTTPConnection(urlsplit(yard.endpoint_url).netloc)
    body = msgspec.json.encode({"jobs": [job_id]})
    headers = {"Authorization": harness.AUTHORIZATION}

    def has_ended() -> bool:
        connection.request("POST", "/v1/describejobs", body, headers)
        job = msgspec.json.decode(connection.getresponse().read())["jobs"][0]
        if job["status"] == "FAILED":
            raise AssertionError(f"the array {job_id} failed: {job['statusReason']}")
        return bool(job["status"] == "SUCCEEDED")

    try:
        while not has_ended():
            time.sleep(POLL_SECONDS)
    finally:
        connection.close()


def _check(yard: Server, job_id: str, size: int) -> None:
    """Raise AssertionError unless every child is SUCCEEDED, with one attempt that has an exit code and a log stream."""
    pages = yard.batch.get_paginator("list_jobs").paginate(arrayJobId=job_id, jobStatus="SUCCEEDED")
    ids = [job["jobId"] for page in pages for job in page["jobSummaryList"]]
    assert len(ids) == size, f"{len(ids)} of {size} children are SUCCEEDED"
    streams = 0
    for start in range(0, size, 100):
        for job in yard.batch.describe_jobs(jobs=ids[start : start + 100])["jobs"]:
            exits = [attempt["container"]["exitCode"] for attempt in job["attempts"]]
            assert exits == [0], f"{job['jobId']} has the exit codes {exits}"
            streams += "logStreamName" in job["container"]
    assert streams == size, f"{streams} of {size} children have a log stream"
    last: dict[str, Any] = yard.batch.describe_jobs(jobs=ids[-1:])["jobs"][0]
    where = {"logGroupName": LOG_GROUP, "logStreamName": last["container"]["logStreamName"]}
    assert yard.logs.get_log_events(**where)["events"] == []


# ---- the same number of processes without a batch system


def _bare_rates(size: int, repeats: int) -> tuple[Figure, Figure]:
    return (
        _bare_rate(f"xargs -P{AT_ONCE} true", _xargs, size, repeats, "starts processes and keeps nothing"),
        _bare_rate("posix_spawn loop", _spawn_loop, size, repeats, f"{AT_ONCE} at a time, in Python"),
    )


def _bare_rate(name: str, run: Callable[[int], None], size: int, repeats: int, note: str) -> Figure:
    values = []
    for _ in range(repeats):
        began = time.perf_counter()
        run(size)
        values.append(size / (time.perf_counter() - began))
    return Figure(name, "processes/s", tuple(values), note=note)


def _xargs(size: int) -> None:
    numbers = "\n".join(map(str, range(size))).encode()
    subprocess.run(["xargs", "-n1", f"-P{AT_ONCE}", "true"], input=numbers, check=True)


def _spawn_loop(size: int) -> None:
    running = started = 0
    while running or started < size:
        while running < AT_ONCE and started < size:
            os.posix_spawn("/bin/true", ["true"], os.environ)
            running, started = running + 1, started + 1
        _, status = os.wait()
        assert status == 0
        running -= 1
