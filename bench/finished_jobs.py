"""DescribeJobs of 100 jobs and pages of ListJobs, over HTTP, while the store holds a million finished jobs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bench import harness, many_jobs
from bench.figures import Figure
from bench.harness import Caller, Options
from bench.many_jobs import Change, Row

GOAL_MS = 20.0
PAGE = 100
SEED = 20250101


def measure(options: Options) -> Iterator[Figure]:
    count, calls, depth = (100_000, 100, 300) if options.quick else (1_000_000, 1000, 9000)
    with harness.server() as yard:
        harness.make_queue(yard, "past", vcpus=2)
        definition = harness.register(yard, "true")
        job_id = yard.batch.submit_job(jobName="bench", jobQueue="past", jobDefinition=definition)["jobId"]
        yard.wait_for(job_id, status="SUCCEEDED")
        yard.stop()
        ids = many_jobs.copy_job(yard.data_dir, job_id, count, _spread(count), with_stream=True)
        yard.start()
        with harness.caller(yard) as caller:
            filtered = {"jobQueue": "past", "jobStatus": "SUCCEEDED", "maxResults": PAGE}
            now = str(round(1000 * time.time()))
            by_time = {
                "jobQueue": "past",
                "maxResults": PAGE,
                "filters": [{"name": "BEFORE_CREATED_AT", "values": [now]}],
            }
            asked: tuple[tuple[str, str, Callable[[], tuple[float, ...]]], ...] = (
                (f"DescribeJobs of {PAGE}", "random ids", lambda: _describe(caller, ids, calls)),
                (f"ListJobs page of {PAGE}", "by queue and status, first page", lambda: _page(caller, filtered, calls)),
                (f"ListJobs, {depth:,} pages deep", "every page on the way", lambda: _walk(caller, filtered, depth)),
                ("ListJobs by time, 10 pages", "BEFORE_CREATED_AT", lambda: _walk(caller, by_time, 10)),
            )
            for name, note, ask in asked:
                cpu_before = harness.cpu_seconds(yard.pid)
                latencies = ask()
                cpu_ms = 1000 * (harness.cpu_seconds(yard.pid) - cpu_before) / len(latencies)
                yield Figure(
                    f"{name}, {count:,} finished",
                    "ms",
                    latencies,
                    goal=GOAL_MS,
                    lower_is_better=True,
                    judged_at=99,
                    note=f"{note}; {cpu_ms:.1f} ms of server CPU a call",
                )


def _spread(count: int) -> Change:
    """The copies come before the real job, each created a little after the one before it, within the last day."""
    step_ms = max(1, 86_400_000 // count)

    def change(row: Row, number: int) -> None:
        for name in ("created_at_ms", "started_at_ms", "stopped_at_ms"):
            row[name] -= (count - number) * step_ms

    return change


def _describe(caller: Caller, ids: list[str], calls: int) -> tuple[float, ...]:
    chosen = random.Random(SEED)
    latencies = []
    for _ in range(calls):
        wanted = chosen.sample(ids, PAGE)
        answer, milliseconds = _timed(caller, "/v1/describejobs", {"jobs": wanted})
        latencies.append(milliseconds)
    found = msgspec.json.decode(answer)["jobs"]
    assert {job["jobId"] for job in found} == set(wanted), f"{len(found)} of {PAGE} jobs were described"
    return tuple(latencies)


def _page(caller: Caller, query: dict[str, Any], calls: int) -> tuple[float, ...]:
    return tuple(_timed(caller, "/v1/listjobs", query)[1] for _ in range(calls))


def _walk(caller: Caller, query: dict[str, Any], depth: int) -> tuple[float, ...]:
    """Page after page, each with the token of the one before."""
    latencies: list[float] = []
    seen: set[str] = set()
    token: dict[str, str] = {}
    for _ in range(depth):
        answer, milliseconds = _timed(caller, "/v1/listjobs", {**query, **token})
        latencies.append(milliseconds)
        page = msgspec.json.decode(answer)
        seen.update(job["jobId"] for job in page["jobSummaryList"])
        token = {"nextToken": page["nextToken"]}
    assert len(seen) == depth * PAGE, f"{depth} pages have {len(seen)} different jobs"
    return tuple(latencies)


def _timed(caller: Caller, path: str, body: dict[str, Any]) -> tuple[bytes, float]:
    began = time.perf_counter()
    answer = caller.call(path, body)
    return answer, 1000 * (time.perf_counter() - began)
