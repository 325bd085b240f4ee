"""The shares of fair-share queues as stored: what each has used, for the scheduler; whether it is active, for the API.

The scheduler writes a row whenever a share's use changes its course, with the transition that does it. The API writes
the first row of a share together with its first job, so that active shares can be counted before they are taken in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, func, or_, select, text

from batchyard.core.outcome import ShareChanged
from batchyard.store.tables import shares as table

_PUT = text(
    "INSERT INTO shares (queue, share_identifier, used_vcpu_seconds, as_of_ms, fades_at_ms, has_jobs)"
    " VALUES (:queue, :share_identifier, :used_vcpu_seconds, :as_of_ms, :fades_at_ms, :has_jobs)"
    " ON CONFLICT (queue, share_identifier) DO UPDATE SET used_vcpu_seconds = excluded.used_vcpu_seconds,"
    " as_of_ms = excluded.as_of_ms, fades_at_ms = excluded.fades_at_ms, has_jobs = excluded.has_jobs"
)
_HAS_JOB = text(
    "INSERT INTO shares (queue, share_identifier, used_vcpu_seconds, as_of_ms, fades_at_ms, has_jobs)"
    " VALUES (:queue, :share_identifier, 0, :now_ms, 0, 1)"
    " ON CONFLICT (queue, share_identifier) DO UPDATE SET has_jobs = 1"
)
_REMOVE = delete(table).where(table.c.queue == bindparam("queue"), table.c.share_identifier == bindparam("share"))
_IS_ACTIVE = or_(table.c.has_jobs == 1, table.c.fades_at_ms > bindparam("now_ms"))
_FIND = select(table.c.has_jobs, _IS_ACTIVE).where(
    table.c.queue == bindparam("queue"), table.c.share_identifier == bindparam("share")
)
_COUNT = select(func.count()).where(table.c.queue == bindparam("queue"), _IS_ACTIVE)


def add_job(connection: Connection, queue: str, share_identifier: str, now_ms: int, most: int) -> bool:
    """The share has a job that is being stored. False, and nothing is written, if that were one share too many.

    `most` is how many shares may be active; 0 is no limit.
    """
    row = connection.execute(_FIND, {"queue": queue, "share": share_identifier, "now_ms": now_ms}).one_or_none()
    has_jobs, is_active = (False, False) if row is None else row
    if not is_active and most and count_active(connection, queue, now_ms) >= most:
        return False
    if not has_jobs:
        connection.execute(_HAS_JOB, {"queue": queue, "share_identifier": share_identifier, "now_ms": now_ms})
    return True


def count_active(connection: Connection, queue: str, now_ms: int) -> int:
    """How many shares of the queue have unfinished jobs or usage that counts."""
    return connection.scalar(_COUNT, {"queue": queue, "now_ms": now_ms}) or 0


def write(connection: Connection, changes: Sequence[ShareChanged]) -> None:
    """Store what a step changed."""
    kept = [_values(change) for change in changes if not change.removed]
    gone = [{"queue": change.queue, "share": change.share_identifier} for change in changes if change.removed]
    if kept:
        connection.execute(_PUT, kept)
    if gone:
        connection.execute(_REMOVE, gone)


def remove_queue(connection: Connection, queue: str) -> None:
    """Forget all shares of a queue that is gone."""
    connection.execute(delete(table).where(table.c.queue == queue))


def all_rows(connection: Connection) -> Iterable[ShareChanged]:
    rows = connection.execute(select(table).order_by(table.c.queue, table.c.share_identifier))
    return [
        ShareChanged(
            row.queue,
            row.share_identifier,
            row.used_vcpu_seconds,
            row.as_of_ms,
            row.fades_at_ms,
            has_jobs=bool(row.has_jobs),
        )
        for row in rows
    ]


def _values(change: ShareChanged) -> dict[str, str | int | float]:
    return {
        "queue": change.queue,
        "share_identifier": change.share_identifier,
        "used_vcpu_seconds": change.used_vcpu_seconds,
        "as_of_ms": change.as_of_ms,
        "fades_at_ms": change.fades_at_ms,
        "has_jobs": int(change.has_jobs),
    }
