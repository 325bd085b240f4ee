"""Job queues as stored. CREATING, UPDATING and DELETING are intents that the runtime settles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from batchyard.core import reasons
from batchyard.core.model import QueueState, TimeLimit
from batchyard.store.documents import Document, Tags, decode_document, decode_tags, encode
from batchyard.store.prepared import AnyRow, Prepared
from batchyard.store.tables import job_queues as table

UNSETTLED = ("CREATING", "UPDATING", "DELETING")

# Every turn of the scheduler asks it. Without IN, which SQLAlchemy would expand at each call.
_UNSETTLED = Prepared(
    select(table)
    .where(or_(*(table.c.status == status for status in UNSETTLED)))
    .order_by(table.c.created_at_ms, table.c.name)
)


class QueueEnvironment(Struct, frozen=True, array_like=True):
    """One entry of computeEnvironmentOrder; `environment` is a name."""

    order: int
    environment: str


_environments = msgspec.json.Decoder(tuple[QueueEnvironment, ...])


class QueueRow(Struct, frozen=True):
    """`environments` are in the order of preference; `document` holds what else describes the queue."""

    name: str
    arn: str
    state: str
    status: str
    status_reason: str | None
    priority: int
    created_at_ms: int
    environments: tuple[QueueEnvironment, ...]
    document: Document
    tags: Tags
    policy: str | None = None
    """The name of its scheduling policy."""

    @property
    def environment_names(self) -> tuple[str, ...]:
        return tuple(entry.environment for entry in self.environments)

    @property
    def type(self) -> str:
        """The queue's jobQueueType: ECS or ECS_FARGATE."""
        return str(self.document["jobQueueType"])


def to_state(row: QueueRow) -> QueueState:
    """What the scheduler has to know."""
    return QueueState(
        name=row.name,
        priority=row.priority,
        environments=row.environment_names,
        created_at_ms=row.created_at_ms,
        enabled=row.state == "ENABLED",
        deleting=row.status == "DELETING",
        time_limits=tuple(
            TimeLimit(action["reason"], action["maxTimeSeconds"])
            for action in row.document.get("jobStateTimeLimitActions", ())
        ),
        policy=row.policy,
    )


# Built once: every SubmitJob runs it.
_FIND = Prepared(select(table).where(table.c.name == bindparam("name")))


def find(connection: Connection, name: str) -> QueueRow | None:
    row = _FIND.first(connection, {"name": name})
    return None if row is None else _row(row)


def find_many(connection: Connection, names: Iterable[str]) -> dict[str, QueueRow]:
    """Those of the named queues that exist, by name."""
    rows = connection.execute(select(table).where(table.c.name.in_(set(names))))
    return {row.name: _row(row) for row in rows}


def page(connection: Connection, after: str, limit: int) -> list[QueueRow]:
    """Queues by name, those after `after`."""
    statement = select(table).where(table.c.name > after).order_by(table.c.name).limit(limit)
    return [_row(row) for row in connection.execute(statement)]


def all_rows(connection: Connection) -> list[QueueRow]:
    return [_row(row) for row in connection.execute(select(table).order_by(table.c.name))]


def using_environment(connection: Connection, environment: str) -> list[str]:
    """The names of the queues that have this environment in their order."""
    rows = connection.execute(select(table.c.name, table.c.environments).order_by(table.c.name))
    return [
        row.name
        for row in rows
        if any(entry.environment == environment for entry in _environments.decode(row.environments))
    ]


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def using_policy(connection: Connection, policy: str) -> list[str]:
    """The names of the queues that have this scheduling policy."""
    return list(connection.scalars(select(table.c.name).where(table.c.policy == policy).order_by(table.c.name)))


def unsettled(connection: Connection) -> list[QueueRow]:
    """The queues whose latest state the runtime has not taken in yet, in the order they were created."""
    return [_row(row) for row in _UNSETTLED.rows(connection)]


def insert_row(connection: Connection, row: QueueRow) -> None:
    connection.execute(insert(table), _values(row))


def replace_row(connection: Connection, row: QueueRow) -> None:
    """Overwrite all columns of the row that has this name."""
    connection.execute(update(table).where(table.c.name == row.name).values(_values(row)))


def settle(connection: Connection, name: str) -> None:
    """The runtime has taken the queue in: CREATING or UPDATING becomes VALID. DELETING stays."""
    connection.execute(
        update(table)
        .where(table.c.name == name, table.c.status.in_(("CREATING", "UPDATING")))
        .values(status="VALID", status_reason=reasons.QUEUE_HEALTHY)
    )


def remove(connection: Connection, name: str) -> None:
    connection.execute(delete(table).where(table.c.name == name))


def _row(row: AnyRow) -> QueueRow:
    return QueueRow(
        name=row.name,
        arn=row.arn,
        state=row.state,
        status=row.status,
        status_reason=row.status_reason,
        priority=row.priority,
        created_at_ms=row.created_at_ms,
        environments=_environments.decode(row.environments),
        document=decode_document(row.document),
        tags=decode_tags(row.tags),
        policy=row.policy,
    )


def _values(row: QueueRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "arn": row.arn,
        "state": row.state,
        "status": row.status,
        "status_reason": row.status_reason,
        "priority": row.priority,
        "created_at_ms": row.created_at_ms,
        "environments": encode(row.environments),
        "document": encode(row.document),
        "tags": encode(row.tags),
        "policy": row.policy,
    }
