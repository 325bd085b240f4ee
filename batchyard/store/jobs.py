"""Jobs and array children as the API reads them: single rows, pages of rows, children that have no row yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs
from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, text, tuple_

from batchyard.core.arrays import Rest
from batchyard.core.job import Stop
from batchyard.core.model import Attempt
from batchyard.core.outcome import UnitRecord
from batchyard.core.states import JobStatus
from batchyard.store.prepared import AnyRow, Prepared, plain_rows
from batchyard.store.tables import children as child_table
from batchyard.store.tables import jobs

_attempts = msgspec.json.Decoder(tuple[Attempt, ...])
_stop = msgspec.json.Decoder(Stop)
_rest = msgspec.json.Decoder(Rest)
_counts = msgspec.json.Decoder(tuple[int, ...])


ALL_INDICES = (0, 2**31 - 1)


class LogPlace(Struct, frozen=True, array_like=True):
    """Where a container of a job logs to: on the nodes, or as the children, from `first` to `last`."""

    first: int
    last: int
    container: int
    """Its place in the task, from 0."""
    log_group: str
    log_prefix: str
    """A log stream's name without the attempt's id at its end."""
    log_pattern: str | None = None


log_places = msgspec.json.Decoder(tuple[LogPlace, ...])


def places_of(places: Sequence[LogPlace], index: int | None) -> list[LogPlace]:
    """Where the containers of a job, of a child or of a node log to, in the order of its task."""
    return [place for place in places if place.first <= (index or 0) <= place.last]


class JobRow(Struct, frozen=True):
    """A job as it is first stored: SUBMITTED, which is the intent that the runtime takes in.

    A multi-node job has `num_nodes`; its `log_group` and so on are its main node's. A job with nodes, or several
    containers, has `log_places`; of the containers the first has the `log_group` and so on.
    """

    job_id: str
    name: str
    queue: str
    definition: str
    created_at_ms: int
    array_size: int | None
    log_group: str
    log_prefix: str
    terms: bytes
    detail: bytes
    tags: bytes
    num_nodes: int | None = None
    log_places: bytes | None = None
    share_identifier: str | None = None
    log_pattern: str | None = None
    """What an event of several lines begins with; None where every line is one."""


class StoredJob(Struct, frozen=True):
    """A job as it stands. `terms` and `detail` never change; `counts` and `rest` are for parents."""

    seq: int
    job_id: str
    name: str
    queue: str
    definition: str
    created_at_ms: int
    record: UnitRecord
    array_size: int | None
    counts: tuple[int, ...] | None
    rest: Rest | None
    log_group: str
    log_prefix: str
    terms: bytes
    """JSON of the core's JobTerms."""
    detail: bytes
    """JSON of what JobDetail says of it."""
    tags: bytes
    num_nodes: int | None = None
    log_places: tuple[LogPlace, ...] = ()
    share_identifier: str | None = None

    @property
    def children(self) -> int | None:
        """How many children or nodes the job has; None for a single job."""
        return self.array_size if self.num_nodes is None else self.num_nodes

    @property
    def mark(self) -> str:
        """What stands between the job's id and a child's index."""
        return ":" if self.num_nodes is None else "#"

    def log_prefixes_of(self, index: int | None) -> list[str]:
        """What the names of the log streams of the job, of a child or of a node begin with, for each container."""
        return [place.log_prefix for place in places_of(self.log_places, index)] or [self.log_prefix]


class JobFilter(Struct, frozen=True, kw_only=True):
    """What ListJobs can ask of a queue's jobs. Names ending in `*` are prefixes."""

    queue: str
    status: JobStatus | None = None
    name: str | None = None
    definition: str | None = None
    created_before_ms: int | None = None
    created_after_ms: int | None = None
    share_identifier: str | None = None

    @property
    def is_by_time(self) -> bool:
        """All states together are in the order of creation, one of them, or one share, in that of submission."""
        return self.status is None and self.share_identifier is None


_INSERT = Prepared(
    insert(jobs).values(
        {column: bindparam(column) for column in (*JobRow.__struct_fields__, "status", "counts", "rest")}
    )
)
RECORD_COLUMNS = (
    jobs.c.status,
    jobs.c.status_reason,
    jobs.c.started_at_ms,
    jobs.c.stopped_at_ms,
    jobs.c.attempts,
    jobs.c.stop,
    jobs.c.blocked_since_ms,
)
"""What `to_record` reads of a job's row."""
_JOB_COLUMNS = (
    jobs.c.seq,
    jobs.c.job_id,
    jobs.c.name,
    jobs.c.queue,
    jobs.c.definition,
    jobs.c.created_at_ms,
    *RECORD_COLUMNS,
    jobs.c.array_size,
    jobs.c.counts,
    jobs.c.rest,
    jobs.c.log_group,
    jobs.c.log_prefix,
    jobs.c.terms,
    jobs.c.detail,
    jobs.c.tags,
    jobs.c.num_nodes,
    jobs.c.log_places,
    jobs.c.share_identifier,
)
_JOBS = select(*_JOB_COLUMNS)
_FIND = _JOBS.where(jobs.c.job_id.in_(bindparam("job_ids", expanding=True)))
_STATUS = select(jobs.c.seq, jobs.c.job_id, jobs.c.status, jobs.c.array_size, jobs.c.num_nodes, jobs.c.rest).where(
    jobs.c.job_id.in_(bindparam("job_ids", expanding=True))
)


_ALL_CHILDREN = Prepared(select(child_table).where(child_table.c.parent_seq == bindparam("parent_seq")))
_SUBMITTED_SPAN = Prepared(
    select(
        (
            select(func.max(jobs.c.seq)).scalar_subquery()
            - select(func.min(jobs.c.seq)).where(text("status = 'SUBMITTED'")).scalar_subquery()
            + 1
        ).label("span")
    )
)
"""From the first job that is SUBMITTED to the last of all; NULL when none is. Every SubmitJob asks this."""


def insert_submitted(connection: Connection, row: JobRow) -> None:
    values = structs.asdict(row)
    values["status"] = JobStatus.SUBMITTED.name
    values["counts"] = values["rest"] = None
    size = row.array_size if row.num_nodes is None else row.num_nodes
    if size is not None:
        values["counts"] = msgspec.json.encode([size, 0, 0, 0, 0, 0, 0])
        values["rest"] = msgspec.json.encode(Rest(JobStatus.SUBMITTED))
    _INSERT.run(connection, values)


def submitted_count(connection: Connection) -> int:
    """How many jobs are SUBMITTED, told from two rows however many they are.

    The runtime takes jobs in by the order of submission, each with the commit that moves it on: those that are
    SUBMITTED are always the last ones, without a gap.
    """
    row = _SUBMITTED_SPAN.first(connection)
    assert row is not None  # of aggregates there always is one
    return int(row.span or 0)


def is_image_needed(connection: Connection, image: str) -> bool:
    """Whether an unfinished job has a container of this image. It looks through all of them: for rare questions."""
    member = b'"image":' + msgspec.json.encode(image)
    unfinished = select(jobs.c.seq).where(jobs.c.stopped_at_ms.is_(None), func.instr(jobs.c.detail, member) > 0)
    return connection.execute(unfinished.limit(1)).first() is not None


def find(connection: Connection, job_ids: Iterable[str]) -> dict[str, StoredJob]:
    """The stored jobs among `job_ids`, by id. Children are not jobs of their own: see `find_children`."""
    return {row.job_id: to_job(row) for row in plain_rows(connection, _FIND, {"job_ids": list(job_ids)})}


def stored_jobs(connection: Connection, seqs: Iterable[int]) -> dict[int, StoredJob]:
    """The jobs with these numbers, by number."""
    return {row.seq: to_job(row) for row in plain_rows(connection, _JOBS.where(jobs.c.seq.in_(list(seqs))))}


def find_children(connection: Connection, parent_seq: int, indices: Iterable[int]) -> dict[int, UnitRecord]:
    """The touched children among `indices`; the others share the parent's `rest`."""
    rows = plain_rows(
        connection,
        select(child_table).where(child_table.c.parent_seq == parent_seq, child_table.c.child_index.in_(list(indices))),
    )
    return {row.child_index: to_record(row) for row in rows}


def all_children(connection: Connection, parent_seq: int) -> dict[int, UnitRecord]:
    """Every touched child of an array, by index."""
    return {row.child_index: to_record(row) for row in _ALL_CHILDREN.rows(connection, {"parent_seq": parent_seq})}


class UnitStatus(Struct, frozen=True):
    """What a dependent job needs to know of a job or child. `array_size` is None for all but arrays."""

    status: JobStatus
    array_size: int | None


def statuses(
    connection: Connection, unit_ids: Sequence[tuple[str, int | None]]
) -> dict[tuple[str, int | None], UnitStatus]:
    """The status of each job or child that exists, by (job id, index)."""
    found: dict[tuple[str, int | None], UnitStatus] = {}
    parents = {row.job_id: row for row in connection.execute(_STATUS, {"job_ids": [job_id for job_id, _ in unit_ids]})}
    for job_id, index in unit_ids:
        row = parents.get(job_id)
        if row is None:
            continue
        if index is None:
            found[(job_id, None)] = UnitStatus(JobStatus[row.status], row.array_size)
        elif index < (row.array_size or row.num_nodes or 0):
            child = find_children(connection, row.seq, [index]).get(index)
            status = child.status if child else _rest.decode(row.rest).status
            found[(job_id, index)] = UnitStatus(status, None)
    return found


def failed_children(connection: Connection, job_id: str) -> tuple[int, ...]:
    """The indices of an ended array's children that failed."""
    parent = connection.execute(
        select(jobs.c.seq, jobs.c.array_size, jobs.c.rest).where(jobs.c.job_id == job_id)
    ).one_or_none()
    if parent is None or parent.array_size is None:
        return ()
    touched = {
        row.child_index: row.status
        for row in connection.execute(
            select(child_table.c.child_index, child_table.c.status).where(child_table.c.parent_seq == parent.seq)
        )
    }
    rest = _rest.decode(parent.rest).status.name
    return tuple(index for index in range(parent.array_size) if touched.get(index, rest) == JobStatus.FAILED.name)


Position = tuple[str | int, int]
"""Where a page of a queue's jobs ends: the name or the time by which they are ordered, if they are, and the seq."""


def position(wanted: JobFilter, job: StoredJob) -> Position:
    if wanted.name is not None:
        return job.name.lower(), job.seq
    return (job.created_at_ms if wanted.is_by_time else 0), job.seq


def page(connection: Connection, wanted: JobFilter, after: Position | None, limit: int) -> list[StoredJob]:
    """Jobs of a queue, newest first (grouped by name when one is asked for), after the position of the last page."""
    query = _JOBS.where(jobs.c.queue == wanted.queue)
    if wanted.status is not None:
        query = query.where(jobs.c.status == wanted.status.name)
    if wanted.created_before_ms is not None:
        query = query.where(jobs.c.created_at_ms < wanted.created_before_ms)
    if wanted.created_after_ms is not None:
        query = query.where(jobs.c.created_at_ms > wanted.created_after_ms)
    if wanted.share_identifier is not None:
        query = query.where(jobs.c.share_identifier == wanted.share_identifier)
    if wanted.definition is not None:
        query = query.where(matches_pattern(jobs.c.definition, wanted.definition))
    name = func.lower(jobs.c.name)
    if wanted.name is not None:
        query = query.where(matches_pattern(name, wanted.name.lower())).order_by(name, jobs.c.seq.desc())
        if after is not None:
            query = query.where(or_(name > after[0], and_(name == after[0], jobs.c.seq < after[1])))
    elif wanted.is_by_time:
        # In the order of the index that finds them: any other would mean to sort all that match, for every page.
        query = query.order_by(jobs.c.created_at_ms.desc(), jobs.c.seq.desc())
        if after is not None:
            query = query.where(tuple_(jobs.c.created_at_ms, jobs.c.seq) < tuple_(*after))
    else:
        query = query.order_by(jobs.c.seq.desc())
        if after is not None:
            query = query.where(jobs.c.seq < after[1])
    return [to_job(row) for row in plain_rows(connection, query.limit(limit))]


def matches_pattern(column: Any, pattern: str) -> Any:
    """The condition that a column equals a pattern, or begins with one that ends in `*`."""
    if not pattern.endswith("*"):
        return column == pattern
    prefix = pattern[:-1]
    return func.substr(column, 1, len(prefix)) == prefix


def children_page(
    connection: Connection, parent: StoredJob, status: JobStatus | None, first: int, limit: int
) -> list[tuple[int, UnitRecord]]:
    """Children or nodes by index from `first` on, touched or not, with the given status if one is given."""
    assert parent.children is not None and parent.rest is not None
    query = select(child_table).where(child_table.c.parent_seq == parent.seq, child_table.c.child_index >= first)
    untouched_match = status is None or parent.rest.status is status
    if status is not None and not untouched_match:
        query = query.where(child_table.c.status == status.name).order_by(child_table.c.child_index).limit(limit)
        return [(row.child_index, to_record(row)) for row in plain_rows(connection, query)]
    touched = {row.child_index: to_record(row) for row in plain_rows(connection, query)}
    rest = rest_record(parent)
    found = []
    for index in range(first, parent.children):
        record = touched.get(index, rest)
        if status is None or record.status is status:
            found.append((index, record))
            if len(found) == limit:
                break
    return found


def rest_record(parent: StoredJob) -> UnitRecord:
    """What the row of an untouched child would hold. The rest that a stop of the parent has ended shares the stop."""
    rest, stop = parent.rest, parent.record.stop
    assert rest is not None
    ended_by_stop = stop is not None and rest.status is JobStatus.FAILED and rest.status_reason == stop.reason
    return UnitRecord(rest.status, rest.status_reason, None, rest.stopped_at_ms, (), stop if ended_by_stop else None)


def to_job(row: AnyRow) -> StoredJob:
    return StoredJob(
        row.seq,
        row.job_id,
        row.name,
        row.queue,
        row.definition,
        row.created_at_ms,
        to_record(row),
        row.array_size,
        _counts.decode(row.counts) if row.counts else None,
        _rest.decode(row.rest) if row.rest else None,
        row.log_group,
        row.log_prefix,
        row.terms,
        row.detail,
        row.tags,
        row.num_nodes,
        log_places.decode(row.log_places) if row.log_places else (),
        row.share_identifier,
    )


def to_record(row: AnyRow) -> UnitRecord:
    return UnitRecord(
        JobStatus[row.status],
        row.status_reason,
        row.started_at_ms,
        row.stopped_at_ms,
        _attempts.decode(row.attempts) if row.attempts else (),
        _stop.decode(row.stop) if row.stop else None,
        row.blocked_since_ms,
    )
