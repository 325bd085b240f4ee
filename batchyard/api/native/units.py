"""Finding the job, child or node that a path names."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import Connection

from batchyard.api.arns import job_id_from
from batchyard.core.job import split_unit_id
from batchyard.core.model import Attempt
from batchyard.core.outcome import UnitRecord
from batchyard.store import jobs
from batchyard.store.jobs import StoredJob


class StoredUnit(Struct, frozen=True):
    """A stored job, or (`index` given) one of its children or nodes, with the record of what has become of it."""

    unit_id: str
    job: StoredJob
    index: int | None
    record: UnitRecord


def find_unit(connection: Connection, id_or_arn: str) -> StoredUnit | None:
    """The unit with this id or ARN, `:index` and `#node` included; None when there is none."""
    unit_id = job_id_from(id_or_arn)
    job_id, index = split_unit_id(unit_id)
    job = jobs.find(connection, [job_id]).get(job_id)
    if job is None:
        return None
    if index is None:
        return StoredUnit(unit_id, job, None, job.record)
    if job.rest is None or index >= (job.children or 0):
        return None
    record = jobs.find_children(connection, job.seq, [index]).get(index) or jobs.rest_record(job)
    return StoredUnit(unit_id, job, index, record)


def attempts_below(connection: Connection, unit: StoredUnit) -> Iterable[Attempt]:
    """The attempts of all children of a parent; a unit without children has its own."""
    if unit.index is not None or unit.job.children is None:
        return unit.record.attempts
    touched = jobs.all_children(connection, unit.job.seq)
    return [attempt for record in touched.values() for attempt in record.attempts]
