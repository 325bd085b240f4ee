"""Jobs and array children as the scheduler holds them while they are unfinished.

A *unit* is what an attempt runs: a single job, one child of an array, or one node of a multi-node parallel job. An
array or multi-node parent is a `Job` that never runs itself; its children's packed state stands in `arrays.py`, and
only children that have done something are objects.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

from msgspec import Struct

from batchyard.core.arrays import ArrayProgress
from batchyard.core.model import Attempt, JobTerms
from batchyard.core.states import JobStatus


class StopCause(StrEnum):
    CANCEL = "CANCEL"
    TERMINATE = "TERMINATE"
    TIMEOUT = "TIMEOUT"
    QUEUE_DELETED = "QUEUE_DELETED"


class Stop(Struct, frozen=True):
    """Why a unit is to end before its time; `reason` becomes its statusReason verbatim. It is never retried."""

    cause: StopCause
    reason: str


class Unit(Struct, kw_only=True, gc=False):
    """What single jobs and array children have in common."""

    status: JobStatus = JobStatus.SUBMITTED
    status_reason: str | None = None
    started_at_ms: int | None = None
    stopped_at_ms: int | None = None
    attempts: tuple[Attempt, ...] = ()
    stop: Stop | None = None
    blocked_since_ms: int | None = None
    """Since when it has been RUNNABLE at the head of its queue with the statusReason that it has now."""

    @property
    def live_attempt(self) -> Attempt | None:
        """The attempt that occupies an instance now."""
        if self.attempts and self.status in (JobStatus.STARTING, JobStatus.RUNNING):
            last = self.attempts[-1]
            return last if last.stopped_at_ms is None else None
        return None

    def __str__(self) -> str:
        """The story so far, for errors."""
        attempts = ", ".join(f"attempt {each.number} exit {each.exit_code}" for each in self.attempts) or "no attempt"
        return f"{getattr(self, 'unit_id', '?')} is {self.status.name} ({self.status_reason}), {attempts}, {self.stop}"


class Job(Unit, kw_only=True, gc=False):
    """A single job, an array parent or a multi-node parent."""

    seq: int
    """Position in the order of submission, over all queues."""
    job_id: str
    terms: JobTerms
    waiting_for: frozenset[str] = frozenset()
    """Ids of the jobs and children that must succeed before any of this job may run."""
    array: ArrayProgress | None = None
    """Where the children are, of an array and of a multi-node job alike."""

    @property
    def is_multinode(self) -> bool:
        return self.terms.nodes is not None

    @property
    def unit_id(self) -> str:
        return self.job_id

    @property
    def job(self) -> Job:
        return self

    @property
    def index(self) -> None:
        return None


class Child(Unit, kw_only=True, gc=False):
    """One child of an array, or node, that has done something, until it ends."""

    parent: Job
    index: int

    @property
    def unit_id(self) -> str:
        return child_id(self.parent, self.index)

    @property
    def job(self) -> Job:
        return self.parent


AnyUnit = Job | Child

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def child_id(job: Job, index: int) -> str:
    """`ID:3` for an array's child, `ID#3` for a node."""
    return f"{job.job_id}{'#' if job.is_multinode else ':'}{index}"


def split_unit_id(unit_id: str) -> tuple[str, int | None]:
    """`ID` -> (ID, None), `ID:3` and `ID#3` -> (ID, 3). A child's id has one spelling: `ID:03` is no child."""
    job_id, mark, index = unit_id.partition("#" if "#" in unit_id else ":")
    return (job_id, int(index)) if mark and _INDEX.fullmatch(index) else (unit_id, None)


def attempt_id(job_id: str, index: int | None, number: int) -> str:
    """The id of an attempt, the same whenever it is asked for, so that launching it again starts nothing twice.

    A single job's first attempt carries the job's own id, which clients expect to find in its log stream's name.
    """
    if index is None and number == 1:
        return job_id
    name = f"{job_id}/{'' if index is None else index}/{number}"
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
