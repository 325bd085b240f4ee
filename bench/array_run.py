"""An array of 10,000 children that each run `true`: from SubmitJob until all are SUCCEEDED on disk, with their attempts
and log streams. Beside it, in the same run and in turns, other batch systems, and what starts processes and keeps
nothing.

One repeat is a run of Batchyard and then one of each peer; after the last comes one more run of Batchyard. A peer's
turn is held against the mean of the two runs of Batchyard around it, so that a machine that drifts drifts for both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from statistics import mean
from typing import Any

from msgspec import Struct

from batchyard.testing import LOG_GROUP, Server
from bench import harness
from bench.figures import Figure, Skipped, per_pair
from bench.harness import Options
from bench.peers import AT_ONCE, Peer, PeerMissing, hyperqueue, slurm, spawn

POLL_SECONDS = 0.05


class Beside(Struct, frozen=True):
    """A peer: how many `true` it runs in a full and in a quick measurement, and the goal as a multiple of its rate."""

    name: str
    peer: Peer
    count: int
    quick_count: int
    goal: float | None
    note: str


PEERS = (
    Beside("posix_spawn loop", spawn.posix_spawn, 10_000, 2000, 0.4, f"{AT_ONCE} at a time, in Python; keeps nothing"),
    Beside(f"xargs -P{AT_ONCE}", spawn.xargs, 10_000, 2000, None, "keeps nothing"),
    Beside("HyperQueue", hyperqueue.running, 10_000, 300, 4.0, "a worker of 2 cores; not durable"),
    Beside("HyperQueue without output", hyperqueue.without_output, 2000, 300, None, "told to collect no output"),
    Beside("Slurm", slurm.running, 500, 100, 10.0, "4 slurmd of 16 CPUs, --mem=1"),
)


def measure(options: Options) -> Iterator[Figure | Skipped]:
    size, repeats = (2000, 1) if options.quick else (10_000, 5)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with harness.server(overcommit=True) as yard:
        runner = Runner(yard, size)
        runner.prepare(AT_ONCE)
        for _ in range(repeats):
            ours.append(runner.rate(AT_ONCE))
            for beside in PEERS:
                if beside.name in missing:
                    continue
                try:
                    rate = _peer_rate(beside, beside.quick_count if options.quick else beside.count)
                except PeerMissing as exception:
                    missing[beside.name] = str(exception)
                else:
                    theirs.setdefault(beside.name, []).append(rate)
        ours.append(runner.rate(AT_ONCE))
        yield Figure(f"{size:,} x true, {AT_ONCE} at once", "children/s", tuple(ours), note=runner.cpu_note())
        runner.prepare(16)
        yield Figure(
            f"{size:,} x true, 16 at once",
            "children/s",
            tuple(runner.rate(16) for _ in range(1 if options.quick else 2)),
            note="the same without waiting for one of two places: what the server itself can do here",
        )
    around = [mean(pair) for pair in pairwise(ours)]
    for beside in PEERS:
        if beside.name in missing:
            yield Skipped(f"an array of true on {beside.name}", missing[beside.name])
            continue
        rates = theirs[beside.name]
        yield Figure(f"true on {beside.name}", "jobs/s", tuple(rates), note=beside.note)
        yield Figure(f"true: Batchyard / {beside.name}", "x", per_pair(around, rates), goal=beside.goal)


def _peer_rate(beside: Beside, count: int) -> float:
    with ExitStack() as stack:
        return count / stack.enter_context(beside.peer())(count)


class Runner:
    """Runs arrays of one size on a server, and adds up what CPU time each of its processes takes for them."""

    def __init__(self, yard: Server, size: int, *, image: str = "busybox") -> None:
        self._yard = yard
        self._size = size
        self._definition = harness.register(yard, "true", image=image)
        self._pids = {"server": yard.pid}
        with contextlib.suppress(LookupError):
            self._pids["supervisor"] = harness.supervisor_pid(yard)
        self._cpu_seconds = dict.fromkeys(self._pids, 0.0)
        self._children = 0

    def prepare(self, at_once: int, *, warm_up: int = 100) -> None:
        """Make the queue, and run what nobody measures."""
        harness.make_queue(self._yard, f"run-{at_once}", vcpus=at_once)
        self._run(at_once, warm_up)

    def rate(self, at_once: int) -> float:
        """Children a second of one array, after a look at every child."""
        before = {name: harness.cpu_seconds(pid) for name, pid in self._pids.items()}
        seconds, job_id = self._run(at_once, self._size)
        for name, pid in self._pids.items():
            self._cpu_seconds[name] += harness.cpu_seconds(pid) - before[name]
        self._children += self._size
        self._check(job_id)
        return self._size / seconds

    def cpu_note(self) -> str:
        each = (f"{1000 * taken / self._children:.2f} ms {name}" for name, taken in self._cpu_seconds.items())
        return f"CPU a child: {', '.join(each)}"

    def _run(self, at_once: int, size: int) -> tuple[float, str]:
        """One array to its end; the seconds and its id. The parent is SUCCEEDED in the commit of its last child."""
        began = time.perf_counter()
        job_id = self._yard.batch.submit_job(
            jobName="bench",
            jobQueue=f"run-{at_once}",
            jobDefinition=self._definition,
            arrayProperties={"size": size},
        )["jobId"]
        with harness.caller(self._yard) as caller:
            while caller.status_of(job_id) != "SUCCEEDED":
                time.sleep(POLL_SECONDS)
        return time.perf_counter() - began, job_id

    def _check(self, job_id: str) -> None:
        """Raise AssertionError unless every child is SUCCEEDED, with one attempt that has an exit code and a log
        stream."""
        batch, size = self._yard.batch, self._size
        pages = batch.get_paginator("list_jobs").paginate(arrayJobId=job_id, jobStatus="SUCCEEDED")
        ids = [job["jobId"] for page in pages for job in page["jobSummaryList"]]
        assert len(ids) == size, f"{len(ids)} of {size} children are SUCCEEDED"
        streams = 0
        for start in range(0, size, 100):
            for job in batch.describe_jobs(jobs=ids[start : start + 100])["jobs"]:
                exits = [attempt["container"]["exitCode"] for attempt in job["attempts"]]
                assert exits == [0], f"{job['jobId']} has the exit codes {exits}"
                streams += "logStreamName" in job["container"]
        assert streams == size, f"{streams} of {size} children have a log stream"
        last: dict[str, Any] = batch.describe_jobs(jobs=ids[-1:])["jobs"][0]
        where = {"logGroupName": LOG_GROUP, "logStreamName": last["container"]["logStreamName"]}
        assert self._yard.logs.get_log_events(**where)["events"] == []
