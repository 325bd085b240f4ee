"""Scheduling policies as stored. A row whose `revision` isn't `taken_in` is an intent that the runtime settles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from batchyard.core.model import FairSharePolicy, ShareWeight
from batchyard.core.shares import DEFAULT_WEIGHT
from batchyard.store.documents import Document, Tags, decode_document, decode_tags, encode
from batchyard.store.prepared import AnyRow, Prepared
from batchyard.store.tables import scheduling_policies as table

DEFAULT_WINDOW_SECONDS = 600
"""What a shareDecaySeconds of 0 stands for."""


class PolicyRow(Struct, frozen=True):
    """`document` is the fairsharePolicy; `revision` is new at every update."""

    name: str
    arn: str
    revision: str
    document: Document
    tags: Tags


def to_state(row: PolicyRow) -> FairSharePolicy:
    """What the scheduler has to know."""
    return FairSharePolicy(
        name=row.name,
        revision=row.revision,
        weights=tuple(
            ShareWeight(entry["shareIdentifier"], entry.get("weightFactor", DEFAULT_WEIGHT))
            for entry in row.document["shareDistribution"]
        ),
        window_seconds=row.document["shareDecaySeconds"] or DEFAULT_WINDOW_SECONDS,
        reservation_percent=row.document["computeReservation"],
    )


_UNSETTLED = Prepared(
    select(table).where(table.c.taken_in.is_(None) | (table.c.taken_in != table.c.revision)).order_by(table.c.name)
)


def find(connection: Connection, name: str) -> PolicyRow | None:
    row = connection.execute(select(table).where(table.c.name == name)).one_or_none()
    return None if row is None else _row(row)


def find_many(connection: Connection, names: Iterable[str]) -> dict[str, PolicyRow]:
    """Those of the named policies that exist, by name."""
    rows = connection.execute(select(table).where(table.c.name.in_(set(names))))
    return {row.name: _row(row) for row in rows}


def page(connection: Connection, after: str, limit: int) -> list[PolicyRow]:
    """Policies by name, those after `after`."""
    statement = select(table).where(table.c.name > after).order_by(table.c.name).limit(limit)
    return [_row(row) for row in connection.execute(statement)]


def all_rows(connection: Connection) -> list[PolicyRow]:
    return [_row(row) for row in connection.execute(select(table).order_by(table.c.name))]


def unsettled(connection: Connection) -> list[PolicyRow]:
    """The policies whose latest terms the runtime has not taken in yet."""
    return [_row(row) for row in _UNSETTLED.rows(connection)]


def insert_row(connection: Connection, row: PolicyRow) -> None:
    connection.execute(insert(table), _values(row))


def replace_row(connection: Connection, row: PolicyRow) -> None:
    """Overwrite the row that has this name, save what was taken in."""
    connection.execute(update(table).where(table.c.name == row.name).values(_values(row)))


def settle(connection: Connection, name: str, revision: str) -> None:
    """The runtime has taken this revision in; if there is a newer one, that stays an intent."""
    connection.execute(update(table).where(table.c.name == name).values(taken_in=revision))


def remove(connection: Connection, name: str) -> None:
    connection.execute(delete(table).where(table.c.name == name))


def _row(row: AnyRow) -> PolicyRow:
    return PolicyRow(row.name, row.arn, row.revision, decode_document(row.document), decode_tags(row.tags))


def _values(row: PolicyRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "arn": row.arn,
        "revision": row.revision,
        "document": encode(row.document),
        "tags": encode(row.tags),
    }
