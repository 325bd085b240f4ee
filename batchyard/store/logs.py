"""Log groups and streams. A stream is the log of one container of an attempt; its events lie in a file of their own.

A group exists if it has a row, or a stream, or is the one that every job logs to unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, and_, delete, func, insert, select, tuple_, update

from batchyard.store.tables import log_groups, log_streams

DEFAULT_GROUP = "/aws/batch/job"
DAY_MS = 24 * 3600 * 1000
STILL_OPEN_MS = 2**62
"""Stands for the end of a stream that is still written to: later than all others."""
_CHUNK = 5000
_LAST_CHARACTER = "\U0010ffff"


class GroupRow(Struct, frozen=True):
    name: str
    created_at_ms: int
    retention_days: int | None


class StreamRow(Struct, frozen=True):
    """`log_id` names the file of its events. With `closed_at_ms` the attempt has ended, and the log is complete. Where
    there is a `pattern`, events begin with the lines in which it is found, and may have several lines."""

    log_group: str
    name: str
    log_id: str
    created_at_ms: int
    closed_at_ms: int | None
    pattern: str | None = None


class StreamPosition(Struct, frozen=True, array_like=True):
    """Where a stream stands in its group by age; streams that come later have higher positions."""

    created_at_ms: int
    name: str


FIRST_STREAM = StreamPosition(-1, "")


def ensure_group(connection: Connection, name: str, now_ms: int) -> None:
    """Give the group a row, unless it has one."""
    if connection.execute(select(log_groups.c.name).where(log_groups.c.name == name)).first() is None:
        connection.execute(insert(log_groups), {"name": name, "created_at_ms": now_ms})


def group_exists(connection: Connection, name: str) -> bool:
    if name == DEFAULT_GROUP:
        return True
    for table, column in ((log_groups, log_groups.c.name), (log_streams, log_streams.c.log_group)):
        if connection.execute(select(column).select_from(table).where(column == name).limit(1)).first() is not None:
            return True
    return False


def all_groups(connection: Connection) -> list[GroupRow]:
    """Every group, by name."""
    rows = {
        row.name: GroupRow(row.name, row.created_at_ms, row.retention_days)
        for row in connection.execute(select(log_groups))
    }
    for name in {DEFAULT_GROUP, *_groups_of_streams(connection)} - rows.keys():
        oldest = select(func.min(log_streams.c.created_at_ms)).where(log_streams.c.log_group == name)
        rows[name] = GroupRow(name, connection.execute(oldest).scalar() or 0, None)
    return [rows[name] for name in sorted(rows)]


def _groups_of_streams(connection: Connection) -> list[str]:
    """The groups that have streams: one index look-up a group, however many streams there are."""
    names: list[str] = []
    while True:
        statement = select(func.min(log_streams.c.log_group))
        if names:
            statement = statement.where(log_streams.c.log_group > names[-1])
        name = connection.execute(statement).scalar()
        if name is None:
            return names
        names.append(name)


def set_retention(connection: Connection, name: str, days: int | None, now_ms: int) -> None:
    """How many days after their end the group's streams are kept; None stands for as long as their jobs."""
    ensure_group(connection, name, now_ms)
    connection.execute(update(log_groups).where(log_groups.c.name == name).values(retention_days=days))


def find_stream(connection: Connection, group: str, name: str) -> StreamRow | None:
    statement = select(log_streams).where(log_streams.c.log_group == group, log_streams.c.name == name)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _stream(row)


def find_streams(connection: Connection, group: str, names: Sequence[str]) -> list[StreamRow]:
    """Those of the named streams that exist, the oldest first."""
    statement = select(log_streams).where(log_streams.c.log_group == group, log_streams.c.name.in_(set(names)))
    rows = connection.execute(statement.order_by(log_streams.c.created_at_ms, log_streams.c.name))
    return [_stream(row) for row in rows]


def streams_by_name(
    connection: Connection, group: str, prefix: str, after: str | None, limit: int, *, descending: bool = False
) -> list[StreamRow]:
    """A page of the group's streams whose names begin with `prefix`."""
    name = log_streams.c.name
    conditions = [log_streams.c.log_group == group, *_begins_with(prefix)]
    if after is not None:
        conditions.append(name < after if descending else name > after)
    statement = select(log_streams).where(and_(*conditions)).limit(limit)
    statement = statement.order_by(name.desc() if descending else name)
    return [_stream(row) for row in connection.execute(statement)]


def end_position(stream: StreamRow) -> tuple[int, int, str]:
    """Where a stream stands when its group is ordered by the time of the last event.

    That is the time when its attempt ended; streams that are still written to come last, by age.
    """
    closed_at_ms = STILL_OPEN_MS if stream.closed_at_ms is None else stream.closed_at_ms
    return closed_at_ms, stream.created_at_ms, stream.name


def streams_by_end(
    connection: Connection, group: str, after: tuple[int, int, str] | None, limit: int, *, descending: bool = False
) -> list[StreamRow]:
    """A page of the group's streams by `end_position`."""
    columns = (
        func.coalesce(log_streams.c.closed_at_ms, STILL_OPEN_MS),
        log_streams.c.created_at_ms,
        log_streams.c.name,
    )
    statement = select(log_streams).where(log_streams.c.log_group == group).limit(limit)
    if after is not None:
        position = tuple_(*columns)
        statement = statement.where(position < after if descending else position > after)
    statement = statement.order_by(*(column.desc() if descending else column for column in columns))
    return [_stream(row) for row in connection.execute(statement)]


def streams_by_age(
    connection: Connection, group: str, prefix: str, after: StreamPosition, last: StreamPosition | None, limit: int
) -> list[StreamRow]:
    """Streams whose names begin with `prefix`, the oldest first: those after `after`, up to `last` if it is given."""
    position = tuple_(log_streams.c.created_at_ms, log_streams.c.name)
    conditions = [log_streams.c.log_group == group, *_begins_with(prefix)]
    conditions.append(position > (after.created_at_ms, after.name))
    if last is not None:
        conditions.append(position <= (last.created_at_ms, last.name))
    statement = select(log_streams).where(and_(*conditions)).limit(limit)
    statement = statement.order_by(log_streams.c.created_at_ms, log_streams.c.name)
    return [_stream(row) for row in connection.execute(statement)]


def delete_stream(connection: Connection, group: str, name: str) -> None:
    connection.execute(delete(log_streams).where(log_streams.c.log_group == group, log_streams.c.name == name))


def delete_streams_of_group(connection: Connection, group: str, most: int) -> list[str]:
    """Remove up to `most` streams; the logs that they were."""
    streams = streams_by_name(connection, group, "", None, most)
    if streams:
        condition = and_(log_streams.c.log_group == group, log_streams.c.name <= streams[-1].name)
        connection.execute(delete(log_streams).where(condition))
    return [stream.log_id for stream in streams]


def delete_group(connection: Connection, name: str) -> None:
    """Remove the group's row; its streams have to be gone before."""
    connection.execute(delete(log_groups).where(log_groups.c.name == name))


def delete_streams(connection: Connection, log_ids: Sequence[str]) -> None:
    """Remove the streams of these logs; those that have none are no error."""
    for start in range(0, len(log_ids), _CHUNK):
        chunk = log_ids[start : start + _CHUNK]
        connection.execute(delete(log_streams).where(log_streams.c.log_id.in_(chunk)))


def expired_streams(connection: Connection, now_ms: int, most: int = 10_000) -> list[str]:
    """The logs of streams that ended longer ago than their group's retention period; at most so many of them."""
    expired: list[str] = []
    groups = select(log_groups).where(log_groups.c.retention_days.is_not(None)).order_by(log_groups.c.name)
    for group in connection.execute(groups).all():
        before_ms = now_ms - group.retention_days * DAY_MS
        statement = (
            select(log_streams.c.log_id)
            .where(log_streams.c.log_group == group.name, log_streams.c.closed_at_ms < before_ms)
            .limit(most - len(expired))
        )
        expired.extend(connection.execute(statement).scalars())
    return expired


def _begins_with(prefix: str) -> list[Any]:
    """As a range, which the primary key answers; LIKE would read every stream."""
    if not prefix:
        return []
    return [log_streams.c.name >= prefix, log_streams.c.name <= prefix + _LAST_CHARACTER]


def _stream(row: Row[Any]) -> StreamRow:
    return StreamRow(row.log_group, row.name, row.log_id, row.created_at_ms, row.closed_at_ms, row.pattern)
