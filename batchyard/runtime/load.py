"""Rebuilding the scheduler's state from the store when the server starts."""

from __future__ import annotations

from collections.abc import Container, Sequence

from msgspec import structs
from sqlalchemy import Connection

from batchyard.core.inputs import (
    DependencyOutcome,
    EnvironmentChanged,
    Input,
    JobSubmitted,
    PolicyChanged,
    QueueChanged,
)
from batchyard.core.job import split_unit_id
from batchyard.core.model import DependencyType, JobTerms
from batchyard.core.restore import StoredJob
from batchyard.core.yard import Yard
from batchyard.store import consumables, environments, jobs, policies, progress, queues

JOBS_READ_AT_ONCE = 10_000


def read_resources(connection: Connection) -> list[Input]:
    """Every compute environment, scheduling policy, queue and consumable resource, settled or not.

    Those marked for deletion come as if they weren't: their jobs are still to be restored to them. The mark is an
    intent, which the first turn takes in again.
    """
    environment_states = [environments.to_state(row) for row in environments.all_rows(connection)]
    queue_states = [queues.to_state(row) for row in queues.all_rows(connection)]
    return [
        *(EnvironmentChanged(structs.replace(state, deleting=False)) for state in environment_states),
        *(PolicyChanged(policies.to_state(row)) for row in policies.all_rows(connection)),
        *consumables.all_events(connection),
        *(QueueChanged(structs.replace(state, deleting=False)) for state in queue_states),
    ]


def read_jobs(connection: Connection, yard: Yard, after_seq: int) -> list[StoredJob]:
    """The next unfinished jobs that were taken in before, with how their ended dependencies came out.

    What a job depends on was submitted before it, so it is in the yard by now, or among those that are read with it.
    """
    stored = progress.read_unfinished(connection, after_seq, JOBS_READ_AT_ONCE)
    unfinished = _Either({job.job_id for job in stored}, yard.jobs)
    return [
        structs.replace(job, ended_dependencies=ended_dependencies(connection, job.terms, unfinished))
        if job.terms.depends_on
        else job
        for job in stored
    ]


def submissions(connection: Connection, submitted: Sequence[progress.SubmittedJob], yard: Yard) -> list[Input]:
    """Newly stored jobs, as the core is told of them."""
    unfinished = _Either({job.job_id for job in submitted}, yard.jobs)
    return [
        JobSubmitted(job.seq, job.job_id, job.terms, ended_dependencies(connection, job.terms, unfinished))
        for job in submitted
    ]


class _Either:
    """A container of what is in one or the other, without copying either."""

    def __init__(self, first: Container[str], second: Container[str]) -> None:
        self._both = (first, second)

    def __contains__(self, item: object) -> bool:
        return item in self._both[0] or item in self._both[1]


def ended_dependencies(
    connection: Connection, terms: JobTerms, unfinished: Container[str]
) -> tuple[DependencyOutcome, ...]:
    """How those dependencies came out that the scheduler doesn't hold any more."""
    outcomes = []
    for dependency in terms.depends_on:
        job_id, index = split_unit_id(dependency.job_id)
        if not job_id or job_id in unfinished:
            continue
        unit = jobs.statuses(connection, [(job_id, index)]).get((job_id, index))
        if unit is None:
            continue
        failed: tuple[int, ...] = ()
        if dependency.type is DependencyType.N_TO_N and unit.array_size is not None:
            failed = jobs.failed_children(connection, job_id)
        outcomes.append(DependencyOutcome(dependency.job_id, unit.status, failed))
    return tuple(outcomes)
