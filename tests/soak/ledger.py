"""Every acknowledged job, until it has ended and its story was checked."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.soak.client import Api
from tests.soak.records import Lost, Records, complaint, is_lost

ENDED = ("SUCCEEDED", "FAILED")
IDS_PER_CALL = 100
KEPT_FOR_READERS = 200
OVERDUE_SECONDS = 180.0
"""No job of the soak takes so long, whatever is killed."""

Judge = Callable[[dict[str, Any]], str | None]
"""Says what is wrong with the end of a job that was not lost; None if it ended as it should."""


class Entry(Struct):
    """A job that was acknowledged."""

    kind: str
    judge: Judge
    since: float
    parents: tuple[str, ...] = ()
    """Jobs it waits for: if one of those was lost, this one may have failed."""
    has_failed: bool = False
    """It had failed when it was last looked at; why is known when what it waited for has been looked at too."""
    is_overdue: bool = False


class Ledger:
    """Asks for the jobs that are under way, checks those that have ended, and keeps only what it found wrong."""

    def __init__(self, api: Api, records: Records) -> None:
        self._api, self._records = api, records
        self.open: dict[str, Entry] = {}
        self.kills = Lost([])
        self.complaints: list[str] = []
        self.ended: Counter[str] = Counter()
        self.lost: set[str] = set()
        """Jobs with an attempt that was lost with its supervisor, and those that failed because of them."""
        self.streams: list[tuple[str, str]] = []
        """(job id, log stream) of some that ended a short while ago."""
        self._seen: set[str] = set()

    def enter(
        self, kind: str, job_id: str, judge: Judge, *, parents: tuple[str, ...] = (), size: int | None = None
    ) -> None:
        """A job was acknowledged; of an array, its children are what runs and is checked."""
        now = time.monotonic()
        for each in [job_id] if size is None else [f"{job_id}:{index}" for index in range(size)]:
            self.open[each] = Entry(kind, judge, now, parents)

    async def settle(self) -> None:
        """Look at all that is open once."""
        for ids in _portions(list(self.open)):
            jobs = (await self._api.batch("DescribeJobs", jobs=ids))["jobs"]
            self._records.read()
            known = {job["jobId"] for job in jobs}
            for job_id in ids:
                if job_id not in known:
                    self._close(job_id, f"{job_id} ({self.open[job_id].kind}) was acknowledged, and nobody knows it")
            for job in jobs:
                if job["status"] in ENDED:
                    self._check(job)
                else:
                    self._look_at_age(job)

    def _check(self, job: dict[str, Any]) -> None:
        job_id = job["jobId"]
        entry = self.open[job_id]
        if job["status"] == "FAILED" and entry.parents and not entry.has_failed:
            entry.has_failed = True
            return
        wrong = complaint(job, self._records.take(job_id), self.kills)
        if is_lost(job) or (job["status"] == "FAILED" and self.lost.intersection(entry.parents)):
            self.lost |= {job_id, job_id.partition(":")[0]}
        else:
            wrong = wrong or entry.judge(job)
        self.ended[entry.kind] += 1
        stream = job["container"].get("logStreamName")
        if stream and job["status"] == "SUCCEEDED":
            self.streams = [*self.streams[-KEPT_FOR_READERS:], (job_id, stream)]
        story = f"{job_id} ({entry.kind}): {wrong}; {job['status']} {job.get('statusReason', '')} {job['attempts']}"
        self._close(job_id, story if wrong else None)

    def _look_at_age(self, job: dict[str, Any]) -> None:
        entry = self.open[job["jobId"]]
        if time.monotonic() - entry.since > OVERDUE_SECONDS and not entry.is_overdue:
            entry.is_overdue = True
            where = f"{job['jobId']} ({entry.kind}) is {job['status']} after {OVERDUE_SECONDS:g} s"
            self.complaints.append(f"{where}: {job.get('statusReason', 'no reason given')}")

    def _close(self, job_id: str, wrong: str | None) -> None:
        del self.open[job_id]
        self._seen.add(job_id)
        if wrong is not None:
            self.complaints.append(wrong)

    def close(self) -> None:
        """At the end: nothing may be open, and no job that was done may have written again."""
        self._records.read()
        for job_id, entry in self.open.items():
            self.complaints.append(f"{job_id} ({entry.kind}) was acknowledged and has not ended")
        for job_id in self._records.left:
            if job_id in self._seen:
                self.complaints.append(f"{job_id} ran again after its end: {self._records.take(job_id)}")

    def unacknowledged(self) -> int:
        """Jobs that ran although a kill cut off their acknowledgement; the client sent each again."""
        return len({job_id.partition(":")[0] for job_id in self._records.left} - self._seen)

    def some_stream(self, lot: random.Random) -> tuple[str, str] | None:
        return lot.choice(self.streams) if self.streams else None


def _portions(ids: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(ids), IDS_PER_CALL):
        yield ids[begin : begin + IDS_PER_CALL]
