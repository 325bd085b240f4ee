"""Removing finished jobs whose time is up."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, select, text

from batchyard.logframes import log_id
from batchyard.store import consumables
from batchyard.store.jobs import to_job, to_record
from batchyard.store.tables import children as child_table
from batchyard.store.tables import jobs, log_streams

MAX_ATTEMPTS = 10_000
"""After so many, children's included, no further job is taken: one transaction must not hold up all others for long."""


class ExpiredJob(Struct, frozen=True):
    """A finished job past its time, with the logs of all its attempts, its children's included."""

    seq: int
    log_ids: list[str]


_DELETE_STREAM = delete(log_streams).where(log_streams.c.log_id == bindparam("b_log_id"))


def expired(connection: Connection, before_ms: int, most: int) -> list[ExpiredJob]:
    """The finished jobs that ended before a moment, the oldest first.

    An unfinished job that depended on one of them has noted its success already, and doesn't miss it.
    """
    rows = connection.execute(
        select(jobs)
        .where(text("stopped_at_ms IS NOT NULL"), jobs.c.stopped_at_ms < before_ms)
        .order_by(jobs.c.stopped_at_ms)
        .limit(most)
    ).all()
    found: list[ExpiredJob] = []
    count = 0
    for row in rows:
        attempts = [attempt.attempt_id for attempt in to_record(row).attempts]
        if row.array_size is not None or row.num_nodes is not None:
            children = connection.execute(select(child_table).where(child_table.c.parent_seq == row.seq))
            attempts += [attempt.attempt_id for child in children for attempt in to_record(child).attempts]
        containers = 1 + max((place.container for place in to_job(row).log_places), default=0)
        logs = [log_id(attempt_id, place) for attempt_id in dict.fromkeys(attempts) for place in range(containers)]
        found.append(ExpiredJob(row.seq, logs))
        count += len(attempts)
        if count >= MAX_ATTEMPTS:
            break
    return found


def remove(connection: Connection, expired_jobs: Sequence[ExpiredJob]) -> None:
    """Delete the rows of jobs, children and log streams together."""
    streams = [{"b_log_id": log_id} for job in expired_jobs for log_id in job.log_ids]
    if streams:
        connection.execute(_DELETE_STREAM, streams)
    seqs = [job.seq for job in expired_jobs]
    connection.execute(delete(child_table).where(child_table.c.parent_seq.in_(seqs)))
    consumables.remove_jobs(connection, seqs)
    connection.execute(delete(jobs).where(jobs.c.seq.in_(seqs)))
