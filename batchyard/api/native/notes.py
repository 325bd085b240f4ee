"""What a job asked for and does not get here: said beside the job, never in its own log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection

from batchyard.api.context import Context
from batchyard.api.native.units import StoredUnit, find_unit


async def notes(context: Context, unit_id: str) -> dict[str, Any] | None:
    """The members of the job's containers that its engine does not honour. None for unknown jobs."""

    def read(connection: Connection) -> StoredUnit | None:
        return find_unit(connection, unit_id)

    unit = await context.database.read(read)
    if unit is None:
        return None
    engine = context.engine
    found: dict[str, None] = {}
    for container in containers_of(msgspec.json.decode(unit.job.detail)):
        found.update(dict.fromkeys(engine.unsupported(container)))
    return {"jobId": unit.unit_id, "engine": engine.name, "notHonoured": list(found)}


def containers_of(detail: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every container in a stored job's detail: its one, its node groups', its tasks'; and the tasks themselves."""
    if "container" in detail:
        yield detail["container"]
    for group in detail.get("nodeProperties", {}).get("nodeRangeProperties", ()):
        yield from containers_of(group)
    for task in detail.get("ecsProperties", {}).get("taskProperties", ()):
        yield task
        yield from task.get("containers", ())
