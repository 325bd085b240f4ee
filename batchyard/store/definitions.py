"""Job definitions as stored: one row a revision. Rows are never removed, so that revisions are never used again."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, tuple_, update

from batchyard.store.documents import Tags, decode_tags, encode
from batchyard.store.prepared import AnyRow, Prepared
from batchyard.store.tables import job_definitions as table


class DefinitionRow(Struct, frozen=True):
    """`document` is the JSON of what RegisterJobDefinition was given, with the defaults that the service fills in."""

    name: str
    revision: int
    arn: str
    status: str
    registered_at_ms: int
    deregistered_at_ms: int | None
    document: bytes
    tags: Tags


class DefinitionFilter(Struct, frozen=True):
    """What DescribeJobDefinitions asks for; None stands for a condition not given."""

    inactive_since_ms: int
    """Revisions deregistered before this are not described any more."""
    references: tuple[tuple[str, int | None], ...] | None = None
    """(name, revision); no revision means all of them."""
    name: str | None = None
    status: str | None = None


def next_revision(connection: Connection, name: str) -> int:
    """One more than the highest revision that the name ever had."""
    highest = connection.execute(select(func.max(table.c.revision)).where(table.c.name == name)).scalar()
    return (highest or 0) + 1


def insert_row(connection: Connection, row: DefinitionRow) -> None:
    connection.execute(
        insert(table),
        {
            "name": row.name,
            "revision": row.revision,
            "arn": row.arn,
            "status": row.status,
            "registered_at_ms": row.registered_at_ms,
            "deregistered_at_ms": row.deregistered_at_ms,
            "document": row.document,
            "tags": encode(row.tags),
        },
    )


# Built once: every SubmitJob runs one of them.
_FIND_REVISION = Prepared(
    select(table).where(table.c.name == bindparam("name"), table.c.revision == bindparam("revision"))
)
_FIND_LATEST = Prepared(
    select(table)
    .where(table.c.name == bindparam("name"), table.c.status == "ACTIVE")
    .order_by(table.c.revision.desc())
    .limit(1)
)


def find_for_submission(connection: Connection, name: str, revision: int | None) -> DefinitionRow | None:
    """The revision asked for, ACTIVE or not; without one the latest ACTIVE revision."""
    statement = _FIND_LATEST if revision is None else _FIND_REVISION
    row = statement.first(connection, {"name": name, "revision": revision})
    return None if row is None else _row(row)


def exists(connection: Connection, name: str) -> bool:
    """Whether the name has any revision, ACTIVE or not."""
    return connection.execute(select(table.c.name).where(table.c.name == name).limit(1)).first() is not None


def deregister(connection: Connection, name: str, revision: int, now_ms: int) -> None:
    """Make an ACTIVE revision INACTIVE; one that is INACTIVE already keeps its time."""
    connection.execute(
        update(table)
        .where(table.c.name == name, table.c.revision == revision, table.c.status == "ACTIVE")
        .values(status="INACTIVE", deregistered_at_ms=now_ms)
    )


def page(connection: Connection, wanted: DefinitionFilter, after: tuple[str, int], limit: int) -> list[DefinitionRow]:
    """Revisions by name and number, those after `after`."""
    conditions: list[Any] = [
        tuple_(table.c.name, table.c.revision) > after,
        or_(table.c.deregistered_at_ms.is_(None), table.c.deregistered_at_ms >= wanted.inactive_since_ms),
    ]
    if wanted.references is not None:
        conditions.append(or_(*(_is(name, revision) for name, revision in wanted.references)))
    if wanted.name is not None:
        conditions.append(table.c.name == wanted.name)
    if wanted.status is not None:
        conditions.append(table.c.status == wanted.status)
    statement = select(table).where(and_(*conditions)).order_by(table.c.name, table.c.revision).limit(limit)
    return [_row(row) for row in connection.execute(statement)]


def _is(name: str, revision: int | None) -> Any:
    if revision is None:
        return table.c.name == name
    return and_(table.c.name == name, table.c.revision == revision)


def _row(row: AnyRow) -> DefinitionRow:
    return DefinitionRow(
        name=row.name,
        revision=row.revision,
        arn=row.arn,
        status=row.status,
        registered_at_ms=row.registered_at_ms,
        deregistered_at_ms=row.deregistered_at_ms,
        document=row.document,
        tags=decode_tags(row.tags),
    )
