"""Compute environments as stored. CREATING, UPDATING and DELETING are intents that the runtime settles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, func, insert, or_, select, update

from batchyard.core import reasons
from batchyard.core.model import EnvironmentState
from batchyard.store.documents import Document, Tags, decode_document, decode_tags, encode
from batchyard.store.prepared import AnyRow, Prepared
from batchyard.store.tables import compute_environments as table

UNSETTLED = ("CREATING", "UPDATING", "DELETING")

# Every turn of the scheduler asks it. Without IN, which SQLAlchemy would expand at each call.
_UNSETTLED = Prepared(
    select(table)
    .where(or_(*(table.c.status == status for status in UNSETTLED)))
    .order_by(table.c.created_at_ms, table.c.name)
)


class EnvironmentRow(Struct, frozen=True):
    """`document` holds all that only describes: computeResources, serviceRole, uuid, ecsClusterArn and so on."""

    name: str
    arn: str
    type: str
    state: str
    status: str
    status_reason: str | None
    created_at_ms: int
    document: Document
    tags: Tags

    @property
    def type_of_capacity(self) -> str:
        """The computeResources' type; UNMANAGED for an environment that has none."""
        return str(self.document.get("computeResources", {}).get("type", "UNMANAGED"))

    @property
    def is_fargate(self) -> bool:
        return self.type_of_capacity.startswith("FARGATE")


def to_state(row: EnvironmentRow) -> EnvironmentState:
    """What the scheduler has to know. An UNMANAGED environment has no maxvCpus."""
    resources = row.document.get("computeResources")
    return EnvironmentState(
        name=row.name,
        enabled=row.state == "ENABLED",
        max_vcpu_milli=None if resources is None else resources["maxvCpus"] * 1000,
        deleting=row.status == "DELETING",
        instance_types=tuple((resources or {}).get("instanceTypes") or ()) or (row.type_of_capacity,),
        subnets=tuple((resources or {}).get("subnets") or ()),
        unmanaged_vcpu_milli=row.document["unmanagedvCpus"] * 1000 if row.document.get("unmanagedvCpus") else None,
    )


def find(connection: Connection, name: str) -> EnvironmentRow | None:
    row = connection.execute(select(table).where(table.c.name == name)).one_or_none()
    return None if row is None else _row(row)


def find_many(connection: Connection, names: Iterable[str]) -> dict[str, EnvironmentRow]:
    """Those of the named environments that exist, by name."""
    rows = connection.execute(select(table).where(table.c.name.in_(set(names))))
    return {row.name: _row(row) for row in rows}


def page(connection: Connection, after: str, limit: int) -> list[EnvironmentRow]:
    """Environments by name, those after `after`."""
    statement = select(table).where(table.c.name > after).order_by(table.c.name).limit(limit)
    return [_row(row) for row in connection.execute(statement)]


def all_rows(connection: Connection) -> list[EnvironmentRow]:
    return [_row(row) for row in connection.execute(select(table).order_by(table.c.name))]


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def unsettled(connection: Connection) -> list[EnvironmentRow]:
    """The environments whose latest state the runtime has not taken in yet, in the order they were created."""
    return [_row(row) for row in _UNSETTLED.rows(connection)]


def insert_row(connection: Connection, row: EnvironmentRow) -> None:
    connection.execute(insert(table), _values(row))


def replace_row(connection: Connection, row: EnvironmentRow) -> None:
    """Overwrite all columns of the row that has this name."""
    connection.execute(update(table).where(table.c.name == row.name).values(_values(row)))


def settle(connection: Connection, name: str) -> None:
    """The runtime has taken the environment in: CREATING or UPDATING becomes VALID. DELETING stays."""
    connection.execute(
        update(table)
        .where(table.c.name == name, table.c.status.in_(("CREATING", "UPDATING")))
        .values(status="VALID", status_reason=reasons.ENVIRONMENT_HEALTHY)
    )


def remove(connection: Connection, name: str) -> None:
    connection.execute(delete(table).where(table.c.name == name))


def _row(row: AnyRow) -> EnvironmentRow:
    return EnvironmentRow(
        name=row.name,
        arn=row.arn,
        type=row.type,
        state=row.state,
        status=row.status,
        status_reason=row.status_reason,
        created_at_ms=row.created_at_ms,
        document=decode_document(row.document),
        tags=decode_tags(row.tags),
    )


def _values(row: EnvironmentRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "arn": row.arn,
        "type": row.type,
        "state": row.state,
        "status": row.status,
        "status_reason": row.status_reason,
        "created_at_ms": row.created_at_ms,
        "document": encode(row.document),
        "tags": encode(row.tags),
    }
