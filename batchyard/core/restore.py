"""Building the yard anew from what is stored, after a restart."""

from __future__ import annotations

from msgspec import Struct

from batchyard.core import dependencies, multinode, placements, timeouts
from batchyard.core.arrays import ArrayProgress, Rest
from batchyard.core.inputs import DependencyOutcome
from batchyard.core.job import AnyUnit, Child, Job
from batchyard.core.model import JobTerms
from batchyard.core.outcome import ShareChanged, UnitRecord
from batchyard.core.states import RUNNABLE, STARTING
from batchyard.core.yard import Yard


class StoredJob(Struct, frozen=True):
    """An unfinished job as stored. `children` are the touched ones, finished or not; `rest` is theirs who aren't."""

    seq: int
    job_id: str
    terms: JobTerms
    record: UnitRecord
    rest: Rest | None = None
    children: tuple[tuple[int, UnitRecord], ...] = ()
    ended_dependencies: tuple[DependencyOutcome, ...] = ()


def restore_share(yard: Yard, stored: ShareChanged) -> None:
    """Put back what a share has used. After its queue, and before the jobs, whose live attempts go on using."""
    queue = yard.queues.get(stored.queue)
    if queue is not None and queue.shares is not None:
        queue.shares.restore(stored)


def restore_job(yard: Yard, stored: StoredJob) -> None:
    """Put an unfinished job back. Jobs must come in the order of `seq`; environments, hosts and queues before them."""
    job = Job(seq=stored.seq, job_id=stored.job_id, terms=stored.terms)
    _fill(job, stored.record)
    if stored.terms.children is not None and stored.rest is not None:
        job.array = _restore_array(job, stored.terms.children, stored.rest, stored.children)
    yard.jobs[job.job_id] = job
    queue = yard.queues[job.terms.queue]
    queue.add(job, 0)
    dependencies.connect(yard, job, stored.ended_dependencies)
    units: list[AnyUnit] = [job]
    if job.array is not None:
        units += [child for child in job.array.children.values() if isinstance(child, Child)]
    for unit in units:
        if unit.blocked_since_ms is not None:
            queue.blocked[unit.unit_id] = unit
        if unit is not job or job.array is None:
            _resume(yard, unit)
    if job.is_multinode:
        multinode.relink(job)
        if job.status is STARTING:
            yard.starting_gangs.add(job.job_id)
    if job.status is RUNNABLE or (job.array is not None and job.array.counts[RUNNABLE]):
        queue.offer(job)


def _restore_array(job: Job, size: int, rest: Rest, children: tuple[tuple[int, UnitRecord], ...]) -> ArrayProgress:
    array = ArrayProgress.new(size, rest.status)
    array.rest = rest
    for index, record in children:
        array.touched[index] = 1
        array.set_status(index, record.status)
        if not record.status.is_terminal:
            child = Child(parent=job, index=index)
            _fill(child, record)
            array.children[index] = child
    return array


def _fill(unit: AnyUnit, record: UnitRecord) -> None:
    unit.status = record.status
    unit.status_reason = record.status_reason
    unit.started_at_ms = record.started_at_ms
    unit.stopped_at_ms = record.stopped_at_ms
    unit.attempts = record.attempts
    unit.stop = record.stop
    unit.blocked_since_ms = record.blocked_since_ms


def _resume(yard: Yard, unit: AnyUnit) -> None:
    """Book the attempt that was live, and let its timeout count on."""
    attempt = unit.live_attempt
    if attempt is not None:
        placements.occupy(yard, unit, attempt)
        timeouts.watch(yard, unit)
        environment = yard.environments[attempt.environment]
        if unit.status is STARTING and not unit.job.is_multinode and environment.rooms(yard.hosts):
            # Whether there was room for it is not known any more.
            environment.ahead[attempt.attempt_id] = attempt.placed_at_ms
