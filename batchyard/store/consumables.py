"""Consumable resources as stored. The API sets totals; the runtime writes what is in use, and takes off what is spent.

A row whose `version` is not the `settled_version` is an intent that the runtime has not taken in yet. A deleted row
stays until it has been.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, text, update

from batchyard.core.inputs import ConsumableChanged
from batchyard.core.model import ConsumableNeed, ConsumableState
from batchyard.core.outcome import ConsumableSettled, ConsumableUsed
from batchyard.core.states import JobStatus
from batchyard.store.documents import Tags, decode_tags, encode
from batchyard.store.jobs import StoredJob, matches_pattern, stored_jobs
from batchyard.store.prepared import AnyRow, Prepared
from batchyard.store.tables import consumable_resources as table
from batchyard.store.tables import consumable_updates as updates
from batchyard.store.tables import job_consumables, jobs

FORGOTTEN_AT_ONCE = 100
"""Updates that are too old to be known again by their tokens: more than come in one at a time."""
REPLENISHABLE, NON_REPLENISHABLE = "REPLENISHABLE", "NON_REPLENISHABLE"


class ConsumableRow(Struct, frozen=True):
    """`type` is REPLENISHABLE or NON_REPLENISHABLE."""

    name: str
    arn: str
    type: str
    total: int
    in_use: int
    created_at_ms: int
    tags: Tags


class JobOfConsumable(Struct, frozen=True):
    """A job that needs a resource, and how much of it: one attempt of it, or of each of its children."""

    job: StoredJob
    quantity: int


def find(connection: Connection, name: str) -> ConsumableRow | None:
    row = connection.execute(select(table).where(table.c.name == name, table.c.deleted == 0)).one_or_none()
    return None if row is None else _row(row)


def find_names(connection: Connection, names: Iterable[str]) -> set[str]:
    """Those of the names that are resources."""
    rows = connection.execute(select(table.c.name).where(table.c.name.in_(set(names)), table.c.deleted == 0))
    return {row.name for row in rows}


def page(connection: Connection, patterns: Sequence[str], after: str, limit: int) -> list[ConsumableRow]:
    """Resources by name, those after `after`; with patterns, those that match one of them in any case."""
    query = select(table).where(table.c.deleted == 0, table.c.name > after)
    if patterns:
        name = func.lower(table.c.name)
        query = query.where(or_(*(matches_pattern(name, pattern.lower()) for pattern in patterns)))
    return [_row(row) for row in connection.execute(query.order_by(table.c.name).limit(limit))]


def insert_row(connection: Connection, row: ConsumableRow) -> None:
    """A new resource; one of the same name that is deleted and not yet gone makes room for it."""
    version = connection.execute(select(table.c.version).where(table.c.name == row.name)).scalar() or 0
    connection.execute(delete(table).where(table.c.name == row.name))
    connection.execute(
        insert(table),
        {
            "name": row.name,
            "arn": row.arn,
            "type": row.type,
            "total": row.total,
            "in_use": 0,
            "created_at_ms": row.created_at_ms,
            "version": version + 1,
            "settled_version": 0,
            "deleted": 0,
            "tags": encode(row.tags),
        },
    )


def set_total(connection: Connection, name: str, total: int) -> None:
    connection.execute(update(table).where(table.c.name == name).values(total=total, version=table.c.version + 1))


def mark_deleted(connection: Connection, name: str) -> None:
    connection.execute(update(table).where(table.c.name == name).values(deleted=1, version=table.c.version + 1))


def find_update(connection: Connection, key: str, since_ms: int) -> int | None:
    """The total that an update of the same payload and token came to, if there was one since then."""
    found: int | None = connection.execute(
        select(updates.c.total).where(updates.c.key == key, updates.c.at_ms >= since_ms)
    ).scalar()
    return found


def note_update(connection: Connection, key: str, total: int, at_ms: int, since_ms: int) -> None:
    """Remember an update by its token, and forget some of those before `since_ms`."""
    old = select(updates.c.key).where(updates.c.at_ms < since_ms).limit(FORGOTTEN_AT_ONCE)
    connection.execute(delete(updates).where(or_(updates.c.key.in_(old), updates.c.key == key)))
    connection.execute(insert(updates), {"key": key, "total": total, "at_ms": at_ms})


# ---- jobs


def add_job(connection: Connection, job_id: str, needs: Iterable[ConsumableNeed]) -> None:
    rows = [{"resource": need.name, "job_id": job_id, "quantity": need.quantity} for need in needs]
    if rows:
        connection.execute(_ADD_JOB, rows)


def remove_jobs(connection: Connection, seqs: Sequence[int]) -> None:
    connection.execute(delete(job_consumables).where(job_consumables.c.job_seq.in_(seqs)))


def jobs_page(
    connection: Connection,
    resource: str,
    statuses: Sequence[JobStatus],
    patterns: Sequence[str],
    before_seq: int | None,
    limit: int,
) -> list[JobOfConsumable]:
    """Jobs that need the resource, newest first, with one of the statuses and names if any are given."""
    query = select(job_consumables.c.job_seq, job_consumables.c.quantity).where(job_consumables.c.resource == resource)
    if statuses or patterns:
        query = query.join(jobs, jobs.c.seq == job_consumables.c.job_seq)
    if statuses:
        query = query.where(jobs.c.status.in_([status.name for status in statuses]))
    if patterns:
        name = func.lower(jobs.c.name)
        query = query.where(or_(*(matches_pattern(name, pattern.lower()) for pattern in patterns)))
    if before_seq is not None:
        query = query.where(job_consumables.c.job_seq < before_seq)
    rows = connection.execute(query.order_by(job_consumables.c.job_seq.desc()).limit(limit)).all()
    found = stored_jobs(connection, [row.job_seq for row in rows])
    return [JobOfConsumable(found[row.job_seq], row.quantity) for row in rows if row.job_seq in found]


_ADD_JOB = text(
    "INSERT INTO job_consumables (resource, job_seq, quantity)"
    " SELECT :resource, seq, :quantity FROM jobs WHERE job_id = :job_id"
)


# ---- the runtime's side


_ALL = select(table).order_by(table.c.name)
_UNSETTLED = Prepared(_ALL.where(table.c.version != table.c.settled_version))
_USE = (
    update(table)
    .where(table.c.name == bindparam("b_name"))
    .values(
        in_use=bindparam("b_in_use"),
        total=text("CASE WHEN total < :b_spent THEN 0 ELSE total - :b_spent END"),
    )
)


def unsettled(connection: Connection) -> list[ConsumableChanged]:
    """What the runtime has not taken in yet."""
    return [_event(row) for row in _UNSETTLED.rows(connection)]


def all_events(connection: Connection) -> list[ConsumableChanged]:
    """Every resource, for a scheduler that starts."""
    return [_event(row) for row in connection.execute(_ALL)]


def settle(connection: Connection, settled: ConsumableSettled) -> None:
    """The runtime has taken this version in. Later ones stay to be taken in."""
    matching = (table.c.name == settled.name, table.c.version == settled.version)
    if settled.removed:
        connection.execute(delete(table).where(*matching, table.c.deleted == 1))
    else:
        connection.execute(update(table).where(*matching).values(settled_version=settled.version))


def write_use(connection: Connection, changes: Sequence[ConsumableUsed]) -> None:
    """What is in use now; what was spent is taken off whatever the total has become meanwhile."""
    rows = [{"b_name": each.name, "b_in_use": each.in_use, "b_spent": each.spent} for each in changes]
    if rows:
        connection.execute(_USE, rows)


def _event(row: AnyRow) -> ConsumableChanged:
    state = ConsumableState(row.name, row.total, row.type == REPLENISHABLE)
    return ConsumableChanged(state, row.version, removed=bool(row.deleted))


def _row(row: AnyRow) -> ConsumableRow:
    return ConsumableRow(row.name, row.arn, row.type, row.total, row.in_use, row.created_at_ms, decode_tags(row.tags))
